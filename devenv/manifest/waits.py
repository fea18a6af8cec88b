"""Who waits for whom → the cycles in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Each cycle whole, its first name again at the end; one for each dependency that closes one."""
    done: set[str] = set()
    for start in needs:
        # Not by recursion: a chain may be as long as a manifest.
        path, waiting = [start], [iter(needs[start])]
        while path and start not in done:
            below = next(waiting[-1], None)
            if below is None:
                done.add(path.pop())
                waiting.pop()
            elif below in path:
                yield (*path[path.index(below) :], below)
            elif below in needs and below not in done:
                path.append(below)
                waiting.append(iter(needs[below]))
