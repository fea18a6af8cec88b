"""The table of keys, seen as JSON Schema and as docs/manifest.md."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from devenv.manifest import json_schema
from devenv.manifest.keys import KEYS, walk

PAGE = os.path.join(os.path.dirname(__file__), "../../docs/manifest.md")


def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json_schema())
    return document


def nodes(value: Any) -> list[dict[str, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [node for item in inner for node in nodes(item)]


def test_schema_has_every_key_and_no_other() -> None:
    assert list(schema()["properties"]) == [key.name for key in KEYS]
    assert schema()["additionalProperties"] is False
    assert schema()["required"] == ["from"]
    assert schema()["$schema"].endswith("2020-12/schema")


def test_schema_refuses_keys_of_later_work() -> None:
    assert schema()["properties"]["roles"]["not"] == {}


def test_schema_takes_services_of_any_right_name() -> None:
    services = schema()["properties"]["services"]
    assert services["propertyNames"]["pattern"] == "^(?:[a-z][a-z0-9]*(-[a-z0-9]+)*)$"
    web = services["additionalProperties"]
    assert web["additionalProperties"] is False and "null" in web["type"] and "required" not in web
    assert {"from", "apt", "healthcheck", "replicas"} <= set(web["properties"])


def test_schema_takes_both_ways_to_say_a_thing() -> None:
    web = schema()["properties"]["services"]["additionalProperties"]["properties"]
    mapping, names = web["depends_on"]["anyOf"]
    assert mapping["additionalProperties"] == {"enum": ["started", "healthy", "completed"]}
    assert names["type"] == "array"
    text, whole = web["healthcheck"]["anyOf"]
    assert "string" in text["type"] and whole["required"] == ["test"]


def test_schema_describes_every_key() -> None:
    described = {name for node in nodes(schema()) if "description" in node for name in [node["description"]]}
    assert {key.doc for _, key in walk() if not key.later} <= described


def test_schema_patterns_accept_what_the_checker_accepts() -> None:
    ports = schema()["properties"]["ports"]["items"]["pattern"]
    assert all(
        re.search(ports, text) for text in ("8000", "9000:8001", "127.0.0.1:9000:8001", "8000/udp", "{{ port }}")
    )
    assert not any(re.search(ports, text) for text in ("", "80-70", "a", "8000\n9", "x8000"))


def test_schema_takes_numbers_where_an_editor_sees_them() -> None:
    version = schema()["properties"]["python"]["properties"]["version"]
    assert "number" in version["type"]


def test_schema_takes_true_and_false_where_an_editor_sees_them() -> None:
    assert schema()["properties"]["python"]["properties"]["network"]["enum"] == ["true", "false", True, False]


def test_page_has_every_key_and_no_other() -> None:
    with open(PAGE, encoding="utf-8") as file:
        rows = re.findall(r"^\| `([\w.]+)` \|", file.read(), re.MULTILINE)
    assert sorted(rows) == sorted(name for name, _ in walk())


def test_page_says_which_keys_come_later() -> None:
    with open(PAGE, encoding="utf-8") as file:
        supported, later = file.read().split("## Not supported yet")
    for name, key in walk():
        assert f"| `{name}` |" in (later if key.later else supported)


def test_page_shows_a_manifest_that_is_read() -> None:
    from devenv.manifest import parse
    from devenv.render.sandbox import expand

    with open(PAGE, encoding="utf-8") as file:
        examples = re.findall(r"```yaml\n(.*?)```", file.read(), re.DOTALL)
    assert examples
    for example in examples:
        facts = {"arch": "amd64", "project": "shop", "user": "ann"}
        assert parse(example.encode(), "/p/devenv.yml", facts=facts, expand=expand).name
