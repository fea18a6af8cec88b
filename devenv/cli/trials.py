"""The verbs try, matrix, bisect and report: versions side by side, with a verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import join, split
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from devenv.changes import HIDDEN, concealed
from devenv.cli import complete, options
from devenv.cli.session import Session
from devenv.cli.written import write_new
from devenv.errors import CommandFailed, DevenvError, Fault, InputError
from devenv.model.container import KEPT
from devenv.model.trial import Trial

if TYPE_CHECKING:
    from devenv.cli.trying.trial import Terms

_COMMAND = "devenv.command"
"""Where a context has the words behind `--`, None when there was none."""


class _WithCommand(TyperCommand):
    """What stands behind `--` is a command, whatever stands before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        cut = given.index("--") if "--" in given else len(given)
        ctx.meta[_COMMAND] = given[cut + 1 :] if cut < len(given) else None
        return super().parse_args(ctx, given[:cut])


Again = Annotated[
    int,
    typer.Option(
        "--again", metavar="N", min=0, max=100, help="Runs of both sides, besides the first, where they differ."
    ),
]
Timed = Annotated[
    int,
    typer.Option(
        "--timed",
        metavar="N",
        min=0,
        max=100,
        help="Further runs, one at a time and alternating, to compare how long tests take.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="The most that one run may take. Default: no limit."),
]
Serve = Annotated[
    bool, typer.Option("--serve", help="Workspaces run the manifest's `command:` meanwhile; otherwise they only wait.")
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", metavar="N", min=0, help="Runs at a time. Default: by cores and memory.")
]


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command(name="try", cls=_WithCommand)(attempt)
    app.command(cls=_WithCommand)(matrix)
    app.command(cls=_WithCommand)(bisect)
    app.command()(report)


def attempt(
    context: typer.Context,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHANGE…",
            help="NAME=VERSION, or one of the manifest's `variants:`; then `-- COMMAND`. Default: the manifest's `test:`.",
            autocompletion=complete.variants,
        ),
    ] = None,
    again: Again = 2,
    timed: Timed = 0,
    timeout: Timeout = 0,
    jobs: Jobs = 0,
    serve: Serve = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave both sides up afterwards, to be entered and compared.")
    ] = False,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Without a regression, write the changes into devenv.yml, what it names, and the lock."
        ),
    ] = False,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=0, help="Trial N once more, with the very packages that it had.")
    ] = 0,
    as_json: options.Json = False,
) -> int:
    """Run the tests with other versions, beside those of today, and say what that breaks.

    Both sides are built, and brought up at the same time, each with network, ports, volumes and a view of the source tree of its
    own: your checkout is never written. Exit code 0: no regression, 1: a regression, 2: it couldn't be judged.

    Example:  devenv try django=6.0 python=3.13 -- pytest -q

    Example:  devenv try next --keep && devenv shell --variant next
    """
    from devenv.cli.trying.applying import applied, texts
    from devenv.cli.trying.trial import Terms, Trying

    session: Session = context.obj
    words, wanted = context.meta[_COMMAND], changes or []
    if repeat:
        wanted, words = _once_more(session, repeat, wanted)
    elif not wanted:
        raise InputError(Fault("try", 0, 0, "with what? No change is named", "such as devenv try django=6.0"))
    terms = Terms(again, timed, jobs, timeout or None, serve)
    trying = Trying(session, join(words) if words else "", terms)
    with _judging(), trying.open():
        if repeat:
            trying.repeat(repeat)
        trying.refer()
        number = trying.add(wanted)
        due = texts(trying.written, trying.parties[number]) if apply and number in trying.setups else {}
        trying.run()
        one = trying.finish("try", _again("try", wanted, words, terms))
        _told(session, one, as_json=as_json)
        if apply and one.code == 0:
            written = applied(trying.written, trying.setups[number].section, due)
            print(f"written: {', '.join(written)}", file=sys.stderr)
        elif apply:
            print("nothing was written: it isn't without a regression", file=sys.stderr)
        for here in trying.keep() if keep else ():
            variant = here.variant.removeprefix(KEPT)
            print(f"kept {here.name}: devenv shell --variant {variant}", file=sys.stderr)
            print(f"  ends with: devenv down --volumes --variant {variant}", file=sys.stderr)
    return one.code


@contextmanager
def _judging() -> Iterator[None]:
    """Whatever keeps a trial from being judged ends it with 2: 1 is a regression."""
    try:
        yield
    except DevenvError as error:
        if error.exit_code != 1:
            raise
        raise CommandFailed(error.message, code=2, hint=error.hint) from error


def matrix(
    context: typer.Context,
    axes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=V1,V2…", help="What there is a choice of. Default: each of the manifest's `variants:`."
        ),
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="NAME",
            help="One of the manifest's `variants:`; several are an axis.",
            autocompletion=complete.variants,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="NAME=V,NAME=V", help="Leave out what has all of these.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="NAME=V,NAME=V", help="Add these to what they fit, or as one of its own."),
    ] = None,
    again: Again = 2,
    timed: Timed = 0,
    timeout: Timeout = 0,
    jobs: Jobs = 0,
    serve: Serve = False,
    as_json: options.Json = False,
) -> int:
    """Run the tests in every combination, beside those of today.

    As many at a time as there are cores and memory for. What they share is built once.

    Example:  devenv matrix python=3.12,3.13 db.from=bootstrap:bookworm,bootstrap:trixie

    Example:  devenv matrix --variant next --variant trixie
    """
    from devenv.cli.trying.combining import combined
    from devenv.cli.trying.trial import Terms, Trying

    session: Session = context.obj
    words = context.meta[_COMMAND]
    terms = Terms(again, timed, jobs, timeout or None, serve)
    trying = Trying(session, join(words) if words else "", terms)
    wanted = combined(axes or (), variants or (), exclude or (), include or (), trying.written.variants)
    with _judging(), trying.open():
        trying.refer()
        for combination in wanted:
            trying.add(combination)
        trying.run()
        given = [
            *(axes or ()),
            *_options("--variant", variants),
            *_options("--exclude", exclude),
            *_options("--include", include),
        ]
        one = trying.finish("matrix", _again("matrix", given, words, terms))
    return _told(session, one, as_json=as_json)


def bisect(
    context: typer.Context,
    wanted: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=GOOD..BAD", help="A version that is good, and one that is bad. With --changes: NAME=VERSION…"
        ),
    ],
    changes: Annotated[bool, typer.Option("--changes", help="Find which of several changes is to blame.")] = False,
    again: Again = 2,
    timeout: Timeout = 0,
    jobs: Jobs = 0,
    serve: Serve = False,
    as_json: options.Json = False,
) -> int:
    """Find the first version that breaks the tests, of those the index really has.

    Each is tried beside the good one; what can't be installed is left out. Exit code 0: found, 2: not found.

    Example:  devenv bisect django=5.0..6.0 -- pytest -q

    Example:  devenv bisect --changes django=6.0 python=3.13 psycopg=3.2
    """
    from devenv.cli.trying.search import asked_range, first_bad, guilty_of
    from devenv.cli.trying.trial import Terms, Trying

    session: Session = context.obj
    words = context.meta[_COMMAND]
    if not changes and len(wanted) != 1:
        raise InputError(
            Fault("bisect", 0, 0, "one NAME=GOOD..BAD at a time", "several changes: devenv bisect --changes …")
        )
    ranged = None if changes else asked_range(wanted[0])
    terms = Terms(again, 0, jobs, timeout or None, serve)
    trying = Trying(session, join(words) if words else "", terms)
    with _judging(), trying.open():
        found = first_bad(trying, ranged) if ranged else guilty_of(trying, wanted)
        given = [*(["--changes"] if changes else []), *wanted]
        one = trying.finish("bisect", _again("bisect", given, words, terms), found)
    return _told(session, one, as_json=as_json)


def _options(name: str, values: list[str] | None) -> list[str]:
    return [word for value in values or () for word in (name, value)]


def _once_more(session: Session, number: int, given: list[str]) -> tuple[list[str], list[str] | None]:
    """What an earlier `try` was asked for: changes, and the command behind `--`."""
    from devenv.cli.trying import history

    one = history.read(history.of_project(session), number)
    if one.kind != "try" or given:
        why = f"trial {number} is a {one.kind}: say `{one.again}`" if one.kind != "try" else "it has its own changes"
        raise InputError(Fault("--repeat", 0, 0, why, "devenv try --repeat N"))
    words = split(one.again)[2:]
    cut = words.index("--") if "--" in words else len(words)
    wanted = [word for word in words[:cut] if not word.startswith("-")]
    if any(word.endswith(HIDDEN) for word in wanted):
        raise InputError(Fault("--repeat", 0, 0, "a secret's value isn't kept", f"say it again: {one.again}"))
    return wanted, words[cut + 1 :] or None


def _again(verb: str, words: list[str], command: list[str] | None, terms: Terms) -> str:
    """The same once more, as it is typed; without the value of a secret."""
    given = (
        ("--again", terms.again, 2),
        ("--timed", terms.timed, 0),
        ("--jobs", terms.jobs, 0),
        ("--timeout", terms.timeout, None),
    )
    options = [f"{name}={value:g}" for name, value, usual in given if value != usual]
    options += ["--serve"] if terms.serve else []
    return join(["devenv", verb, *map(concealed, words), *options, *(["--", *command] if command else [])])


def report(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="Which trial. Default: the last one.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the trials of this project.")] = False,
    html: Annotated[
        str,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one page that needs nothing else; - for stdout.",
            autocompletion=complete.files,
        ),
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it for a pull request.")] = False,
    as_json: options.Json = False,
) -> int:
    """Show a trial once more: as text, as a page, as Markdown, as JSON.

    Example:  devenv report --html report.html

    Example:  devenv report --list
    """
    from devenv.cli.trying import history, showing

    session: Session = context.obj
    trials = history.of_project(session)
    if listed:
        showing.listed(history.every(trials), session.env, as_json=as_json)
        return 0
    one = history.read(trials, number or history.last(trials))
    if html == "-":
        print(showing.page(one, history.logs(trials, one)), end="")
    elif html:
        target = os.path.join(session.folder, html)
        write_new(target, showing.page(one, history.logs(trials, one)), force=True)
        print(target)
    elif markdown:
        showing.markdown(one)
    else:
        showing.told(one, session.env, as_json=as_json)
    return 0


def _told(session: Session, one: Trial, *, as_json: bool) -> int:
    from devenv.cli.trying import showing

    showing.told(one, session.env, as_json=as_json)
    if not as_json:
        print(f"more: devenv report {one.id} --html report.html", file=sys.stderr)
    return one.code
