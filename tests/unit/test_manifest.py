"""What a right manifest becomes, and what a hostile file can't do. Wrong values have their cases in manifest_cases/."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from devenv.errors import InputError
from devenv.manifest import parse
from devenv.model.manifest import From, Hooks, Limits, Manifest, Node, Port, Python, Source
from devenv.render.sandbox import expand

FACTS = {"arch": "amd64", "user": "ann"}


def unused(template: str, variables: Mapping[str, str]) -> str:
    raise AssertionError(f"no template here, but {template!r} was expanded with {variables!r}")


def read(text: str | bytes, path: str = "/projects/My Shop/devenv.yml") -> Manifest:
    data = text.encode() if isinstance(text, str) else text
    return parse(data, path, facts=FACTS, expand=unused)


def read_templates(text: str) -> Manifest:
    return parse(text.encode(), "/projects/shop/devenv.yml", facts=FACTS, expand=expand)


def refused(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value).replace("/projects/My Shop/", "")


def test_parse_takes_a_base_alone() -> None:
    assert read("from: bootstrap:bookworm\n")._replace(places={}) == Manifest(
        path="/projects/My Shop/devenv.yml",
        folder="/projects/My Shop",
        name="my-shop",
        base=From("bootstrap", "bookworm"),
        sources=(Source(".", "/workspace"),),
        workdir="/workspace",
    )


def test_parse_says_where_each_value_stands() -> None:
    places = read("from: bootstrap:bookworm\napt:\n  - git\n  - jq\npython: {packages: [six]}\n").places
    assert places["apt"] == (3, 3) and places["apt[1]"] == (4, 5)
    assert places["python.packages[0]"] == (5, 21) and places["from"] == (1, 7)


def test_parse_takes_every_key() -> None:
    manifest = read("""
        name: shop
        from: oci:images/base:v1
        vars: {a: 1, b: ""}
        apt: [git, "libc6:amd64", g++, postgresql-client=15+248]
        python: {version: 3.10, requirements: [./a/requirements.txt, uv.lock], packages: ["x[y]>=1,<2"], build_on: apt, network: true}
        node: {version: 20, lock: app/package-lock.json, packages: [typescript@5, "@types/node"]}
        source:
          - src
          - {path: /data/, target: /data/, mode: ro}
        contexts: {"debian:bookworm-slim": bootstrap:bookworm, local: ../other, made: "file:Dockerfile", c: "oci:x:1"}
        workdir: /workspace/src/
        env: {A: yes, B: "", C: "x=y\\n{"}
        user: 1000:app
        command: serve
        ports: [8000, 9000:8001, "127.0.0.2:9000:8001", 53/udp, 127.0.0.1::81]
        limits: {memory: 1.5G, cpus: 0.5, pids: 100}
        network: bridge
        hooks: {on_create: [a, b], on_start: [c]}
        test: pytest -q
        certificates: certs/ca.pem
        proxy: none
        mirror: http://mirror.example:3142/debian
        runtime: crun
    """)
    assert manifest._replace(places={}) == Manifest(
        path="/projects/My Shop/devenv.yml",
        folder="/projects/My Shop",
        name="shop",
        base=From("oci", "images/base:v1"),
        vars=(("a", "1"), ("b", "")),
        apt=("git", "libc6:amd64", "g++", "postgresql-client=15+248"),
        python=Python("3.10", ("a/requirements.txt", "uv.lock"), ("x[y]>=1,<2",), "apt", network=True),
        node=Node("20", "app/package-lock.json", ("typescript@5", "@types/node")),
        sources=(Source("src", "/workspace"), Source("/data", "/data", "ro")),
        contexts=(
            ("debian:bookworm-slim", "bootstrap:bookworm"),
            ("local", "../other"),
            ("made", "file:Dockerfile"),
            ("c", "oci:x:1"),
        ),
        workdir="/workspace/src",
        env=(("A", "yes"), ("B", ""), ("C", "x=y\n{")),
        user="1000:app",
        command="serve",
        ports=(
            Port(8000),
            Port(8001, 9000),
            Port(8001, 9000, "127.0.0.2"),
            Port(53, protocol="udp"),
            Port(81, address="127.0.0.1"),
        ),
        limits=Limits(1536 << 20, 0.5, 100),
        network="bridge",
        hooks=Hooks(("a", "b"), ("c",)),
        test="pytest -q",
        certificates="certs/ca.pem",
        proxy="none",
        mirror="http://mirror.example:3142/debian",
        runtime="crun",
    )


@pytest.mark.parametrize(
    "written, read_as",
    [
        ("3.10", "3.10"),
        ("22:22", "22:22"),
        ("yes", "yes"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_parse_keeps_text_as_written(written: str, read_as: str) -> None:
    assert read(f"from: bootstrap:sid\nenv: {{A: {written}}}\n").env == (("A", read_as),)


def test_parse_takes_an_empty_list_of_sources() -> None:
    manifest = read("from: bootstrap:sid\nsource: []\n")
    assert (manifest.sources, manifest.workdir) == ((), None)


@pytest.mark.parametrize("key", ["apt", "env", "vars", "ports", "limits", "hooks", "contexts", "source"])
def test_parse_takes_a_key_whose_lines_are_commented_out(key: str) -> None:
    assert read(f"from: bootstrap:sid\n{key}:\n  # - x\n").name == "my-shop"


def test_parse_takes_python_without_any_wish() -> None:
    assert read("from: bootstrap:sid\npython:\n").python == Python()


@pytest.mark.parametrize("folder, name", [("A B", "a-b"), ("---", "project"), ("Ünï", "n"), ("x" * 80, "x" * 63)])
def test_parse_makes_a_name_of_the_folder(folder: str, name: str) -> None:
    assert read("from: bootstrap:sid\n", f"/p/{folder}/devenv.yml").name == name


def test_parse_takes_line_ends_and_byte_order_mark_of_other_systems() -> None:
    assert read(b"\xef\xbb\xbffrom: bootstrap:sid\r\napt: [git]\r\n") == read("from: bootstrap:sid\napt: [git]\n")


def test_parse_takes_aliases() -> None:
    manifest = read("from: bootstrap:sid\napt: &a [git]\nenv: {A: &v x, B: *v}\nhooks: {on_create: *a}\n")
    assert (manifest.env, manifest.hooks.on_create) == ((("A", "x"), ("B", "x")), ("git",))


def test_parse_takes_commands_of_several_lines() -> None:
    assert read("from: bootstrap:sid\ntest: |\n  a\n  \tb\n").test == "a\n\tb\n"


def test_parse_expands_templates_over_vars_env_and_facts() -> None:
    manifest = read_templates("""
        name: shop
        test: "{{ VERBOSE }} {{ project }} {{ user }}"
        env: {VERBOSE: "{{ both }}", NEXT: "{{ VERBOSE }}!"}
        vars: {suite: bookworm, both: "{{ suite }}/{{ arch }}"}
        from: bootstrap:{{ suite }}
        python: {packages: ["django=={{ '5.2' }}"]}
    """)
    assert str(manifest.base) == "bootstrap:bookworm"
    assert manifest.env == (("VERBOSE", "bookworm/amd64"), ("NEXT", "bookworm/amd64!"))
    assert manifest.test == "bookworm/amd64 shop ann"
    assert manifest.python == Python(packages=("django==5.2",))


def test_parse_expands_once() -> None:
    manifest = read_templates("""
        from: bootstrap:sid
        vars: {a: "{% raw %}{{ user }}{% endraw %}"}
        env: {B: "{{ a }}"}
    """)
    assert manifest.env == (("B", "{{ user }}"),)


def test_parse_checks_what_a_template_gives() -> None:
    with pytest.raises(InputError, match=r"devenv\.yml:3:7: `apt\[0\]`: '--x' is not a Debian package"):
        read_templates('from: bootstrap:sid\nvars: {x: "--x"}\napt: ["{{ x }}"]\n')


def test_parse_refuses_a_value_that_doubles_without_end() -> None:
    doubling = ", ".join(f'v{n}: "{{{{ v{n - 1} }}}}{{{{ v{n - 1} }}}}"' for n in range(1, 40))
    with pytest.raises(InputError) as caught:
        read_templates(f"from: bootstrap:sid\nvars: {{v0: 0123456789, {doubling}}}\n")
    assert re.search(r"`vars\.v9`: .* has 5,120 characters", str(caught.value))
    assert len(caught.value.faults) == 1, "variables made of a wrong one are not blamed again"


def test_parse_names_faults_in_file_order() -> None:
    with pytest.raises(InputError) as caught:
        read("zzz: 1\nports: [0]\nenv: {1: x}\nvars: {1: x}\nfrom: x\n")
    lines = [fault.line for fault in caught.value.faults]
    assert lines == sorted(lines) == [1, 2, 3, 4, 5]


def test_parse_counts_faults_beyond_a_hundred() -> None:
    text = refused("from: bootstrap:sid\nports: [" + ", ".join(["0"] * 150) + "]\n")
    assert text.count("is not a port") == 100
    assert "and 50 more faults" in text


@pytest.mark.parametrize("levels", [9, 30])
def test_parse_refuses_an_alias_bomb_at_once(levels: int) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    begun = time.process_time()
    text = refused("\n".join(lines))
    assert time.process_time() - begun < 0.2
    assert "more than 10,000 values, aliases expanded" in text


@pytest.mark.parametrize(
    "data, message",
    [
        (b"from: x\n" + b"#" * (1 << 20), "devenv.yml:1:1: the file is larger than 1,048,576 bytes"),
        (b"[" * 60, "devenv.yml:1:51: nested deeper than 50 levels"),
        (b"[" * 100_000, "nested deeper than 50 levels"),
        (b"a: " * 1000, "mapping values are not allowed"),
        (b"- " * 100_000, "nested deeper than 50 levels"),
        (b"{a: " * 100_000, "nested deeper than 50 levels"),
        (b"a: [" + b"x, " * 300_000 + b"]", "more than 10,000 values"),
        ("from: bootstrap:sid\n".encode("utf-16"), "the file is UTF-16"),
        (b"from: x\nname: caf\xe9\n", "devenv.yml:2:10: byte 0xe9 is not UTF-8"),
        (b"from: x\nname: a\0b\n", "devenv.yml:2:8: the file contains the control character U+0000"),
        (b"from: \x1b[31mx\n", "devenv.yml:1:7: the file contains the control character U+001B"),
        ("from: x\ufeff\n".encode(), "control character U+FEFF"),
        (b"%TAG ! tag:x,2000:\n---\nfrom: !x y\n", "tags are not allowed"),
    ],
)  # fmt: skip
def test_parse_refuses_what_is_no_manifest(data: bytes, message: str) -> None:
    begun = time.process_time()
    assert message in refused(data)
    assert time.process_time() - begun < 1


def test_parse_shows_no_escape_sequences() -> None:
    text = refused('from: "\\e[2J"\n"\\e[2J": 1\napt: ["\\e[2J"]\nports: ["\\u202e8000"]\nenv: {"\\e": x}\n')
    assert all(character.isprintable() or character == "\n" for character in text)


def test_parse_fails_only_with_faults() -> None:
    chance = random.Random(2026)
    pieces = [
        "from: bootstrap:sid",
        "\nfrom: ",
        "apt",
        "env",
        "source",
        "ports",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
    ]
    pieces += [
        "\n  ",
        "'",
        '"',
        "&a ",
        "*a",
        "!t ",
        "{{ x }}",
        "~",
        "0",
        "22:22",
        "#",
        "?",
        "\t",
        "..",
        "/",
        "é",
        "<<",
        "|",
    ]
    outcomes = set()
    for _ in range(1500):
        text = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))
        try:
            parse(text.encode(), "/p/devenv.yml", facts=FACTS, expand=expand)
            outcomes.add("read")
        except InputError as error:
            assert error.faults
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_manifest_imports_nothing_heavy() -> None:
    heavy = ("jinja2", "json", "tomllib", "difflib", "pathlib", "socket")
    check = f"import sys, devenv.manifest; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
