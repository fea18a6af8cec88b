"""The application, by its own client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

import notes


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    notes.notes.clear()
    notes.app.testing = True  # what goes wrong is raised here, and isn't a page that says so
    with notes.app.test_client() as client:
        yield client


def test_no_notes_make_an_empty_list(client: FlaskClient) -> None:
    assert client.get("/").data == b"<ul></ul>"


def test_a_note_is_shown_escaped(client: FlaskClient) -> None:
    assert client.post("/notes", data={"note": "1 < 2"}).status_code == 201
    assert client.get("/").data == b"<ul><li>1 &lt; 2</li></ul>"


def test_an_address_is_a_link(client: FlaskClient) -> None:
    client.post("/notes", data={"note": "see http://example.test/a"})
    assert b'see <a href="http://example.test/a">' in client.get("/").data


def test_a_note_must_say_something(client: FlaskClient) -> None:
    assert client.post("/notes", data={"note": "  "}).status_code == 400


@pytest.mark.parametrize(("words", "found"), [("milk", ["Buy milk"]), ("buy", ["Buy milk", "buy bread"]), ("tea", [])])
def test_search_finds_all_words(client: FlaskClient, words: str, found: list[str]) -> None:
    notes.notes.extend(["Buy milk", "buy bread"])
    assert client.get("/search", query_string={"q": words}).json == {"found": found}
