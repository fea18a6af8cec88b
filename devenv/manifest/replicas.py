"""A mapping whose keys are partly read once for each replica → what its record makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .document import Node, Scalar, Series, Table
from .kinds import Record
from .values_service import MOST

if TYPE_CHECKING:
    from .check import Check

INDEX = "index"
_EXPRESSIONS = re.compile(r"\{[{%].*[}%]\}", re.DOTALL)  # from the first to the last: `}}` may stand in a text of one

Values = dict[str, Any]


def read(check: Check, table: Table, kind: Record, where: str) -> Values | None:
    """What `kind.make` is to be given. None after a fault; one that several replicas have is told once.

    The keys that all replicas share see the variables of the record that no `index` went into.
    """
    before = len(check.faults)
    own = table._replace(entries=tuple(entry for entry in table.entries if entry[0].text in kind.each))
    rest = table._replace(entries=tuple(entry for entry in table.entries if entry[0].text not in kind.each))
    varying = _varying(own)

    one = check.within({**check.scope, INDEX: "1"})
    first = one.fields(own, kind.keys, where, first=("env",))
    known = {name: value for name, value in one.scope.items() if name not in varying}
    shared = check.within(known, broken=one.broken, varying=varying)
    values = shared.fields(rest, kind.keys, where)
    count = _count(check, table, where, values.pop("replicas", 1))
    if len(check.faults) > before:
        return None
    each = [first] * min(count, 1)
    again = own._replace(entries=tuple(entry for entry in own.entries if mentions(entry[1], varying)))
    scope = check.scope if any(name.text == "env" for name, _ in again.entries) else one.scope
    for index in range(2, count + 1):
        if not again.entries:
            each.append(first)
            continue
        replica = check.within({**scope, INDEX: str(index)})
        each.append({**first, **replica.fields(again, kind.keys, where, first=("env",))})
        if len(check.faults) > before:
            return None
    return {**values, "first": first, "each": each}


def _count(check: Check, table: Table, where: str, written: int) -> int:
    """How many replicas there are to be; a fault when that makes too many containers."""
    count = check.scale.get(where.rpartition(".")[2], written)
    before = check.tally.replicas
    check.tally.replicas += count
    if check.tally.replicas <= MOST:
        return count
    if before <= MOST:
        place = check.found[f"{where}.replicas"][0] if f"{where}.replicas" in check.found else table.place
        message = f"`{where}.replicas`: with it, all services together are {check.tally.replicas:,} containers"
        check.fault(place, message, f"{MOST:,} are the most that an environment can have")
    return 1


def _varying(own: Table) -> frozenset[str]:
    """The names that may differ from replica to replica: `index`, and the variables that it goes into."""
    names = {INDEX}
    for key, node in own.entries:
        for name, value in node.entries if key.text == "env" and isinstance(node, Table) else ():
            if mentions(value, names):
                names.add(name.text)
            else:
                names.discard(name.text)
    return frozenset(names)


def mentions(node: Node, names: Iterable[str]) -> bool:
    """Whether a template in it has one of these names."""
    if isinstance(node, Scalar):
        found = _EXPRESSIONS.search(node.text)
        return found is not None and not set(re.findall(r"\w+", found[0])).isdisjoint(names)
    inner = node.items if isinstance(node, Series) else [value for _, value in node.entries]
    return any(mentions(item, names) for item in inner)
