"""What is heard of a v2 cgroup where processes are killed for want of memory. v1 needs a kernel: tests/engine/test_supervisor.py."""

from __future__ import annotations

from pathlib import Path

from devenv.engine.native.supervisor.memory import Killings


def test_killings_are_heard_once_each_and_nothing_else(tmp_path: Path) -> None:
    def say(limits: int, kills: int) -> None:
        (tmp_path / "memory.events").write_text(f"low 0\nhigh 0\nmax {limits}\noom {kills}\noom_kill {kills}\n")

    say(0, 1)  # before anybody listened
    killings = Killings({"": str(tmp_path)})
    heard = []
    for limits, kills in ((1, 1), (1, 2), (2, 2), (2, 4)):
        say(limits, kills)
        heard.append(killings.heard())
    killings.close()
    assert heard == [False, True, False, True]
