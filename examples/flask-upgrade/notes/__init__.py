"""Notes, shown as a page: the application."""

from __future__ import annotations

from flask import Flask, request

from . import text

app = Flask(__name__)
notes: list[str] = []


@app.get("/")
def page() -> str:
    return "<ul>" + "".join(f"<li>{text.shown(note)}</li>" for note in notes) + "</ul>"


@app.post("/notes")
def add() -> tuple[str, int]:
    note = request.form.get("note", "").strip()
    if not note:
        return "a note must say something", 400
    notes.append(note)
    return "", 201


@app.get("/search")
def search() -> dict[str, list[str]]:
    return {"found": text.containing(notes, request.args.get("q", ""))}
