"""Trials as they may have been, for tests of how they are shown: a rich one, a matrix, bisects, one without tests, a hostile one."""

from __future__ import annotations

from collections.abc import Iterable

from devenv.model.plan import Change
from devenv.model.trial import Case, Difference, Moved, Notice, Outcome, Run, Side, Trial, Verdict

STARTED = 1_764_501_300.0
"""30 Nov 2025, 11:15 UTC."""

HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style></pre></details></td></table><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "a | b `c` @octocat #12 GH-7 org/repo#3 https://evil.example www.evil.example [x](javascript:alert(1)) <!--",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\ \x9b2J \u202egnp.exe \x00\x07",
    "{{ 7 * 7 }} {% raw %} ${7*7} &amp; &lt;b&gt;",
    "unbroken" * 100,
    "```\n</details>\n\n# heading\n@octocat\n````\n| cell |",
)
"""What a test's name, its failure or a log may hold."""

TOTAL = """\
    def test_total_has_taxes(order):
        order.add("tea", 2, price=Decimal("3.50"))
>       assert order.total() == Decimal("8.33")
E       AssertionError: assert Decimal('7.00') == Decimal('8.33')
E        +  where Decimal('7.00') = total()

tests/test_orders.py:41: AssertionError"""

IMPORT = """\
shop/urls.py:3: in <module>
    from django.utils.translation import ugettext_lazy as _
E   ImportError: cannot import name 'ugettext_lazy' from 'django.utils.translation'"""

CONTROLLED = (
    ("base", "sha256:5b2cc1cf4e8e0f6a6f7d0e7f1f9c2d1a0b9e8d7c6b5a49382716"),
    ("source", "41 files, sha256:0d9f3a7c55e1"),
    ("PYTHONHASHSEED", "0"),
    ("clock", "2026-11-30 11:15"),
    ("network", "none"),
)


def django() -> Trial:
    """A try with all kinds of differences."""
    steady = [f"tests/test_{area}.py::test_{what}" for area in ("cart", "search", "users", "api") for what in WHAT]
    baseline, variant = _sides(steady)
    return Trial(
        id="t-20261130-3f9a",
        kind="try",
        project="django-shop",
        environment="django-shop-1c9e",
        folder="/home/ann/django-shop",
        started=STARTED,
        seconds=48.2,
        command="pytest -q",
        baseline=baseline,
        variants=(variant,),
        verdicts=(_verdict(len(steady)),),
        controlled=CONTROLLED,
        again="devenv try django=6.0 -- pytest -q",
    )


WHAT = ("is_empty", "keeps_order", "adds_up", "finds_nothing", "is_paged", "refuses_strangers", "says_why", "survives")


def _sides(steady: Iterable[str]) -> tuple[Side, Side]:
    old = [Case(name, "passed", 0.03 + 0.021 * n) for n, name in enumerate(steady)]
    new = [case._replace(seconds=case.seconds * (1.02 if n % 3 else 0.97)) for n, case in enumerate(old)]
    broken = [
        ("tests/test_orders.py::test_total_has_taxes", TOTAL),
        ("tests/test_orders.py::test_total_of_nothing", TOTAL.replace("has_taxes", "of_nothing")),
        ("tests/test_urls.py", IMPORT),
    ]
    slow = ("tests/test_report.py::test_ten_thousand_rows", "tests/test_search.py::test_index_is_built")
    old += [Case(name, "passed", 0.4) for name, _ in broken] + [
        Case(slow[0], "passed", 1.31),
        Case(slow[1], "passed", 2.2),
    ]
    new += [Case(name, "failed", 0.4, why) for name, why in broken]
    new += [Case(slow[0], "passed", 2.44), Case(slow[1], "passed", 1.02)]
    runs = (
        [
            Run(0, STARTED + 6 * n, 5.4, cpu, tuple(old), log=f"baseline-{n}.log", alone=True)
            for n, cpu in cpus((4.31, 4.22, 4.4))
        ],
        [
            Run(1, STARTED + 6 * n, 6.9, cpu, tuple(new), log=f"variant-{n}.log", alone=True)
            for n, cpu in cpus((5.8, 5.61, 6.02))
        ],
    )
    moved = (
        Moved("python", "django", "5.2.8", "6.0", direct=True),
        Moved("python", "asgiref", "3.8.1", "3.10.0"),
        Moved("python", "sqlparse", "0.5.1", "0.5.3"),
        Moved("python", "tzdata", "2024.2", ""),
        Moved("apt", "libpq5", "15.13-0+deb12u1", "15.14-0+deb12u1"),
        *(Moved("node.lock", f"@scope/part-{n}", f"1.{n}.0", f"2.0.{n}") for n in range(34)),
    )
    asked = (Change("django", "5.2.8", "6.0", "devenv.yml:6:9"),)
    return (
        Side("baseline", (), "sha256:aa11", (), tuple(runs[0])),
        Side("next", asked, "sha256:bb22", moved, tuple(runs[1])),
    )


def cpus(values: Iterable[float]) -> enumerate[float]:
    return enumerate(values, 1)


def _verdict(passed: int) -> Verdict:
    good: tuple[Outcome, ...] = ("passed",) * 3
    bad: tuple[Outcome, ...] = ("failed",) * 3
    return Verdict(
        "regression",
        (
            "3 tests that passed in each of 3 runs of the baseline failed in each of 3 runs with django 6.0.",
            "2 tests waver on one side or the other: they weren't counted.",
            "The whole command takes 1.33 times the CPU time.",
        ),
        (
            Difference("tests/test_orders.py::test_total_has_taxes", "newly failing", good, bad, detail=TOTAL),
            Difference("tests/test_orders.py::test_total_of_nothing", "newly failing", good, bad, detail=TOTAL),
            Difference("tests/test_urls.py", "newly failing", good, ("error",) * 3, detail=IMPORT),
            Difference(
                "tests/test_mail.py::test_retry",
                "flaky",
                ("passed", "failed", "passed"),
                ("failed", "passed", "passed"),
            ),
            Difference(
                "tests/test_mail.py::test_timeout",
                "flaky",
                good,
                ("passed", "failed", "passed"),
                detail="TimeoutError: 2 s",
            ),
            Difference("tests/test_report.py::test_ten_thousand_rows", "slower", good, good, 1.31, 2.44),
            Difference("tests/test_search.py::test_index_is_built", "faster", good, good, 2.2, 1.02),
            Difference("tests/test_admin.py::test_date_format", "fixed", bad, good),
            Difference("tests/test_pdf.py::test_fonts", "still failing", bad, bad, detail="OSError: no such font"),
            Difference("tests/test_async.py::test_new_backend", "only here", ("", "", ""), good),
            Difference("tests/test_legacy.py::test_pytz", "gone", good, ("", "", "")),
        ),
        passed=passed,
        skipped=5,
        new=(
            Notice("RemovedInDjango61Warning", "Passing positional argument(s) to Model.save() is deprecated."),
            Notice("DeprecationWarning", "datetime.datetime.utcnow() is deprecated and scheduled for removal."),
        ),
        gone=(Notice("RemovedInDjango60Warning", "The FORMS_URLFIELD_ASSUME_HTTPS setting is deprecated."),),
        before=4.22,
        after=5.61,
    )


def logs() -> dict[str, str]:
    """Of the try above; one is far too long for a page."""
    whole = "collecting …\n" + "".join(f"tests/test_cart.py::test_{n} \x1b[32mPASSED\x1b[0m\n" for n in range(80))
    long = "".join(f"line {n}: {'x' * 200}\n" for n in range(20_000)) + "3 failed, 32 passed in 5.61s\n"
    found = {f"{side}-{n}.log": whole for side in ("baseline", "variant") for n in (1, 2, 3)}
    return {**found, "variant-1.log": long}


def fine() -> Trial:
    """A try after which nothing differs but packages."""
    whole = django()
    side = whole.variants[0]._replace(runs=whole.baseline.runs)
    verdict = Verdict(
        "no regression", ("All 37 tests that passed in the baseline pass.",), passed=37, before=4.2, after=4.2
    )
    return whole._replace(variants=(side,), verdicts=(verdict,))


def unbuilt() -> Trial:
    """A try whose variant can't be built, of a command that says nothing of tests."""
    whole = django()
    side = Side(
        "next",
        (Change("django", "5.2.8", "7.0"),),
        failed="django 7.0: no such version\n  hint: 6.0 is the newest",
        stage="lock",
    )
    verdict = Verdict("not judged", ("The variant has no run: its packages could not be resolved.",))
    return whole._replace(variants=(side,), verdicts=(verdict,), again="", controlled=())


def matrix() -> Trial:
    """Three Djangos with three Pythons; one is left out, the baseline is one of them, one can't be built."""
    whole = django()
    cells = [
        ("5.2.8", "3.12", "no regression"),
        ("5.2.8", "3.13", "no regression"),
        ("6.0", "3.11", "not judged"),
        ("6.0", "3.12", "regression"),
        ("6.0", "3.13", "regression"),
        ("6.1a1", "3.13", "regression"),
    ]
    sides, verdicts = [], []
    for number, (version, python, outcome) in enumerate(cells):
        changes = (Change("django", "5.2.8", version), Change("python", "3.11", python))
        asked = tuple(change for change in changes if change.before != change.after)
        runs = tuple(run._replace(cpu=(run.cpu or 0) + 0.2 * number, log="") for run in whole.variants[0].runs)
        side = whole.variants[0]._replace(name=f"django-{version}-python-{python}", changes=asked, runs=runs)
        verdict = Verdict("no regression", ("Nothing that passed fails.",), passed=37)
        if outcome == "regression":
            verdict = whole.verdicts[0]
        elif outcome == "not judged":
            failed = "django 6.0 needs Python 3.12 or newer"
            side = side._replace(runs=(), moved=(), failed=failed, stage="lock")
            verdict = Verdict("not judged", ("It has no run.",))
        sides.append(side)
        verdicts.append(verdict)
    again = "devenv matrix django=5.2.8,6.0,6.1a1 python=3.11,3.12,3.13 -- pytest -q"
    return whole._replace(kind="matrix", variants=tuple(sides), verdicts=tuple(verdicts), again=again)


def bisect() -> Trial:
    """Over 24 versions of werkzeug, one of which can't be installed."""
    whole = django()
    candidates = tuple(f"2.{minor}.{patch}" for minor in (0, 1, 2, 3) for patch in range(5))
    candidates += ("3.0.0", "3.0.1", "3.0.2", "3.1.0")
    questions = "2.0.0 good, 3.1.0 bad, 2.2.1 good, 2.3.2 skip, 2.3.3 good, 3.0.0 bad, 2.3.4 good"
    tried = tuple((one.split()[0], one.split()[1]) for one in questions.split(", "))
    sides, verdicts = [], []
    for version, answer in tried[1:]:
        change = Change("werkzeug", "2.0.0", version)
        outcome = {"good": "no regression", "bad": "regression", "skip": "not judged"}[answer]
        moved = (Moved("python", "werkzeug", "2.0.0", version, direct=True),)
        sides.append(whole.variants[0]._replace(name=version, changes=(change,), moved=moved))
        verdicts.append(whole.verdicts[0] if answer == "bad" else Verdict(outcome, (), passed=37))  # type: ignore[arg-type]
    return whole._replace(
        kind="bisect",
        baseline=whole.baseline._replace(name="werkzeug-2.0.0", changes=(Change("werkzeug", "2.1.0", "2.0.0"),)),
        variants=tuple(sides),
        verdicts=tuple(verdicts),
        guilty=("werkzeug=3.0.0",),
        tried=tried,
        candidates=candidates,
        again="devenv bisect werkzeug=2.0.0..3.1.0 -- pytest -q",
    )


def smallest() -> Trial:
    """A bisect among changes, two of which are guilty together."""
    whole = django()
    tried = (("django=6.0 psycopg=3.2 redis=6", "bad"), ("django=6.0", "good"), ("django=6.0 psycopg=3.2", "bad"))
    sides, verdicts = [], []
    for what, answer in tried:
        changes = (Change(one.partition("=")[0], "", one.partition("=")[2]) for one in what.split())
        sides.append(whole.variants[0]._replace(name=what, changes=tuple(changes)))
        verdicts.append(whole.verdicts[0] if answer == "bad" else Verdict("no regression", (), passed=37))
    return whole._replace(
        kind="bisect",
        variants=tuple(sides),
        verdicts=tuple(verdicts),
        guilty=("django=6.0", "psycopg=3.2"),
        tried=tried,
        candidates=("django=6.0", "psycopg=3.2", "redis=6"),
        again="",
    )


def hostile() -> Trial:
    """Everything that comes from tests, packages or output is an attack."""
    whole = django()
    everything = " ".join(HOSTILE)
    differences = tuple(
        Difference(one, kind, ("passed", "failed"), ("failed", "passed"), 1.0, 2.0, f"{one}\n{everything}")
        for one in HOSTILE
        for kind in ("newly failing", "flaky", "slower")
    )
    moved = tuple(Moved(one, one, one, one, direct=True) for one in HOSTILE)
    notices = tuple(Notice(one, one) for one in HOSTILE)
    cases = tuple(Case(one, "passed", 1.0, one) for one in HOSTILE)
    runs = tuple(Run(1, STARTED, 5.0, 4.0, cases, notices, f"{n}.log", alone=True) for n in range(2))
    changes = (Change(everything, everything, f"{everything}!"),)
    side = Side(everything, changes, everything, moved, runs, everything, "build")
    return whole._replace(
        id=everything,
        project=everything,
        folder=everything,
        command=everything,
        baseline=side,
        variants=(side,),
        verdicts=(Verdict("regression", HOSTILE, differences, 3, 1, notices, notices),),
        controlled=((everything, everything),),
        again=everything,
        guilty=(everything,),
        tried=((everything, everything),),
        candidates=(everything,),
    )
