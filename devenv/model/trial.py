"""A trial: one command run in a baseline and in variants of it, what came of each run, and the verdict."""

from typing import Literal, NamedTuple

from .plan import Change

Outcome = Literal["passed", "failed", "error", "skipped"]
"""What became of a test; `error`: it could not be judged by itself (its set-up or tear-down failed)."""

Kind = Literal["newly failing", "fixed", "still failing", "only here", "gone", "flaky", "slower", "faster"]
"""How a test of the variant is beside the baseline's. `only here`: the baseline has no such test or skips it, `gone`: the variant.
"""


class Case(NamedTuple):
    """One test in one run. `name` as its tool calls it (`tests/test_shop.py::test_total`); wall seconds; `detail`: why it failed."""

    name: str
    outcome: Outcome
    seconds: float = 0.0
    detail: str = ""


class Notice(NamedTuple):
    """A warning that a run printed: its category (`DeprecationWarning`), its text without what differs from run to run."""

    category: str
    text: str


class Run(NamedTuple):
    """The command, once. `code` is its exit code, None when it was ended by us: it took too long, or nobody wanted to go on.

    `started` in Unix seconds; `seconds` wall time; `cpu` seconds of all processes of the container, None where nobody counts them.
    `cases` None: it said nothing of single tests. `unnamed`: how many more passed without being named (unittest names those that
    fail). `partial`: its report ends in the middle, or wasn't all read, so of a test that isn't there nothing is known.
    `alone`: nothing of this trial ran beside it, so its times can be compared.
    `log`: the file its output is kept in, beneath the trial's folder.
    """

    code: int | None
    started: float
    seconds: float
    cpu: float | None = None
    cases: tuple[Case, ...] | None = None
    notices: tuple[Notice, ...] = ()
    log: str = ""
    alone: bool = False
    unnamed: int = 0
    partial: bool = False


class Moved(NamedTuple):
    """A package that isn't the same on both sides: what it belongs to (lock/compare.py; `base`: what the image starts from), its
    versions, "" for none.

    `direct`: the manifest, or a file that it names, asks for it by name.
    """

    group: str
    name: str
    before: str
    after: str
    direct: bool = False


class Side(NamedTuple):
    """The baseline, or one variant. `changes` are those asked for, in the manifest's names (none for the baseline).

    `image` is the digest of what the command ran in, `moved` what differs from the baseline. `failed`: why it has no run at
    all; `stage` says where that happened, `outside` that its changes are not to blame: an index couldn't be reached, the disk is
    full, somebody interrupted it.
    """

    name: str
    changes: tuple[Change, ...] = ()
    image: str = ""
    moved: tuple[Moved, ...] = ()
    runs: tuple[Run, ...] = ()
    failed: str = ""
    stage: Literal["", "lock", "build", "start"] = ""
    outside: bool = False


class Difference(NamedTuple):
    """A test that isn't the same on both sides, or fails on both. Outcomes are those of all runs, in order ("" where it had none).

    `before`, `after`: seconds, the least of runs that can be compared; `detail`: why it fails, of the variant where it does.
    `within`: the file (or package, or class) that couldn't be loaded in some run, which is how this test failed there.
    """

    name: str
    kind: Kind
    baseline: tuple[Outcome | Literal[""], ...] = ()
    variant: tuple[Outcome | Literal[""], ...] = ()
    before: float | None = None
    after: float | None = None
    detail: str = ""
    within: str = ""


class Verdict(NamedTuple):
    """What a variant is, beside the baseline.

    `reasons`: what it rests on, in whole sentences, the weightiest first. `new` and `gone`: notices on one side only.
    `before`, `after`: seconds of CPU of the whole command, the least of each side's runs; None where nobody counted.
    """

    outcome: Literal["no regression", "regression", "not judged"]
    reasons: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    passed: int = 0
    """Tests that passed on both sides."""
    skipped: int = 0
    """Tests that were skipped on both sides, or on one."""
    new: tuple[Notice, ...] = ()
    gone: tuple[Notice, ...] = ()
    before: float | None = None
    after: float | None = None

    @property
    def code(self) -> int:
        """The exit code that says so: 0, 1 or 2."""
        return ("no regression", "regression", "not judged").index(self.outcome)


class Trial(NamedTuple):
    """All of it. `kind` is the verb, `command` what was run, `environment` the id of the project's own.

    `verdicts` are of `variants`, one each, in their order. `controlled`: what is the same on both sides, (what, value).
    `guilty`: what a bisect found: the changes that make the difference, as they were asked for; `tried` what it looked at, in
    order: (version or changes, `good`, `bad` or `skip`), `candidates` what it chose among, from good to bad.
    `again`: the command that asks for the very same trial.
    """

    id: str
    kind: Literal["try", "matrix", "bisect"]
    project: str
    environment: str
    folder: str
    started: float
    seconds: float
    command: str
    baseline: Side
    variants: tuple[Side, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    controlled: tuple[tuple[str, str], ...] = ()
    guilty: tuple[str, ...] = ()
    tried: tuple[tuple[str, str], ...] = ()
    candidates: tuple[str, ...] = ()
    again: str = ""

    @property
    def code(self) -> int:
        """Of all verdicts: 1 when any is a regression, else 2 when any couldn't be judged, else 0. Of a bisect: whether it found one."""
        if self.kind == "bisect":
            return 0 if self.guilty else 2
        codes = {verdict.code for verdict in self.verdicts}
        return next((code for code in (1, 2) if code in codes), 0)
