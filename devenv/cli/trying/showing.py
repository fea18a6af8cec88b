"""A Trial, or all of a project → stdout: text, JSON, Markdown, and a page."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from devenv import console
from devenv.cli import document, tried
from devenv.cli.listing import age
from devenv.model.trial import Trial
from devenv.render.templates import templates_folder


def told(one: Trial, env: Mapping[str, str], *, as_json: bool) -> None:
    """For people, or for programs."""
    if as_json:
        console.json(document.trial(one), sys.stdout)
    else:
        tried.trial(one, env)


def listed(trials: Sequence[Trial], env: Mapping[str, str], *, as_json: bool) -> None:
    """A line each, the newest first."""
    if as_json:
        console.json([document.trial(one) for one in trials], sys.stdout)
        return
    rows = [
        (one.id, one.kind, age(time.time() - one.started), tried.subject(one), tried.outcome(one)) for one in trials
    ]
    console.table(
        ("TRIAL", "", "WHEN", "WHAT", "VERDICT"), rows, sys.stdout, colour=console.colours(sys.stdout, env), shrink=(3,)
    )


def markdown(one: Trial) -> None:
    """For a pull request."""
    from devenv.trial.report.markdown import markdown as text

    print(text(one))


def page(one: Trial, logs: Mapping[str, str]) -> str:
    """The whole page."""
    from devenv.trial.report.page import page as made

    return made(one, logs, templates_folder())
