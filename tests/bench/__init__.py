"""The benchmark: devenv, Docker, Podman, docker-compose, devcontainers on this machine in, docs/benchmarks.md out."""
