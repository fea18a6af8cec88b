# Every target does its own set-up: Debian packages when one is missing, the virtual environment when pyproject.toml changed.

PYTHON ?= /usr/bin/python3
BIN := .venv/bin
ENGINE := ca-certificates curl python3 python3-venv crun runc conmon catatonit mmdebstrap nftables
SPREAD := --numprocesses=auto --maxprocesses=4
TOOLS := chromium e2fsprogs fonts-dejavu-core git iproute2 libcap2-bin procps skopeo tmux umoci util-linux zstd zsh fish

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-peers soak clean engine tools venv

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: engine venv ## bring examples/django-shop up, run its tests inside, show the address that answers
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/demo examples/django-shop

test: tools venv ## lint, types, all tests: with root, kernel, apt, uv and npm
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -v $(SPREAD)

check: venv ## lint, types and the tests that need neither root nor network
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q $(SPREAD) -m "not engine and not network and not browser"

bench: engine venv ## measure against Docker, Podman and the devcontainers CLI, write docs/benchmarks.md
	$(BIN)/python -m tests.bench

bench-peers: engine venv ## install those to be measured against
	$(BIN)/python -m tests.bench.peers

soak: tools venv ## the long tests
	$(BIN)/pytest -v -m soak

clean: ## remove what these targets made in this folder; stores of environments stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

engine: ; @.ci/packages $(ENGINE)
tools: engine ; @.ci/packages $(TOOLS)

# Compiled here, so that a command starts fast even where PYTHONDONTWRITEBYTECODE is set.
venv: .venv/made ; @$(BIN)/python -m compileall -q devenv

.venv/made: pyproject.toml | engine
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --editable '.[dev]'
	touch $@
