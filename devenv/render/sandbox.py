"""One string of a manifest and the variables → its text, expanded once, in a sandbox whose work is bounded.

There is no clock and no thread to stop: what a template can ask for is bounded by construction.

- Only expressions and `if`: no loops, macros, blocks, assignments, includes; so each node runs at most once.
- At most NODES nodes, DEPTH deep, in a source of at most SOURCE bytes; a variable has at most SOURCE characters.
- No power, no `%` on text, no attributes but the calls of a few text methods, a short list of filters, no globals.
- Every text or number that an operator, call or filter makes is paid from one budget of OUTPUT characters; those
  that can multiply (`*`, `replace`, `join`) pay before they work.

So the worst template does a few thousand operations over at most 16 MiB altogether.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from devenv.errors import DevenvError

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

SOURCE = 64 * 1024
OUTPUT = 16 * 1024 * 1024
NODES = 10_000
DEPTH = 100


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_METHODS = _words(
    "capitalize endswith isalnum isalpha isdigit isnumeric lower lstrip partition removeprefix removesuffix"
    " rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
)
_FILTERS = _words(
    "capitalize count d default first float int join last length lower lstrip replace rstrip string title trim upper"
)
_TESTS = _words("defined undefined string number none even odd in eq ne lt le gt ge == != < <= > >=")
_NODES = _words(
    "Template Output TemplateData If Const Name List Tuple Getattr Getitem Slice Call Filter Test CondExpr"
    " And Or Not Neg Pos Add Sub Mul Div FloorDiv Mod Compare Operand Concat"
)
_STATEMENTS = {
    "For": "loops are",
    "Macro": "macros are",
    "CallBlock": "`call` is",
    "FilterBlock": "`filter` blocks are",
    "Include": "`include` is",
    "Import": "`import` is",
    "FromImport": "`import` is",
    "Extends": "`extends` is",
    "Block": "blocks are",
    "Assign": "`set` is",
    "AssignBlock": "`set` is",
    "With": "`with` is",
    "Pow": "`**` is",
    "Dict": "{…} is",
}


class _Refused(Exception):
    """The template asks for what manifests may not do: the reason and the fix."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` as a Jinja2 template, rendered once over `variables`; their own braces stay as they are.

    Raises DevenvError: a fault of syntax, an undefined name (with the nearest one), a limit, something not allowed.
    """
    try:
        if len(text) > SOURCE or len(text.encode(errors="replace")) > SOURCE:
            raise _Refused(f"the text is longer than {SOURCE // 1024} KiB", "keep long texts in files of the project")
        if "{{" not in text and "{%" not in text and "{#" not in text:
            return text  # most values are plain: Jinja2 takes 60 ms to import
        return _render(text, variables)
    except _Refused as refused:
        raise DevenvError(f"expand {_show(text)}: {refused.message}", hint=refused.hint) from None


def _render(text: str, variables: Mapping[str, str]) -> str:
    from jinja2 import TemplateError, UndefinedError

    spent = _Budget()
    try:
        environment = _environment(spent)
        tree = environment.parse(text)
        _check(tree)
        long = [name for name, value in variables.items() if len(value) > SOURCE]
        if long:
            raise _Refused(f"the variable {long[0]!r} is longer than {SOURCE // 1024} KiB")
        pieces: list[str] = []
        for piece in environment.from_string(_joined(tree)).generate(dict(variables)):
            spent(len(piece))
            pieces.append(piece)
        return "".join(pieces)
    except UndefinedError as error:
        raise _undefined(str(error), variables) from error
    except RecursionError as error:
        raise _Refused("it is nested too deeply", "write it in simpler parts") from error
    except (TemplateError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise _Refused(reason.splitlines()[0][:200], _hint(reason)) from error


class _Budget:
    """Characters a template may still make."""

    def __init__(self) -> None:
        self.left = OUTPUT

    def __call__(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _Refused(f"it makes more than {OUTPUT // 1024 // 1024} MiB", "a manifest's values are short texts")


def _environment(spent: _Budget) -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(_words("+ - * / // %"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "*":
                spent(_product(left, right))
            elif operator == "%" and not isinstance(left, int | float):
                raise SecurityError("`%` is for numbers only")
            result = super().call_binop(context, operator, left, right)
            spent(_size(result))
            return result

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().call(__context, __obj, *args, **kwargs)
            spent(_size(result))
            return result

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, str) and attribute in _METHODS:
                return getattr(obj, attribute)
            if isinstance(obj, StrictUndefined):
                return super().getattr(obj, attribute)
            raise SecurityError(f"values have no attribute {attribute!r}")

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(argument, int | slice):
                return super().getitem(obj, argument)
            raise SecurityError(f"values have no item {argument!r}")

    environment = Sandbox(undefined=StrictUndefined, keep_trailing_newline=True, optimized=False, cache_size=0)
    environment.globals.clear()
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    known = {**environment.filters, "lstrip": str.lstrip, "rstrip": str.rstrip, "replace": _replace(spent)}
    known["join"] = _join(spent)
    environment.filters = {name: _paid(known[name], spent) for name in _FILTERS}
    return environment


def _paid(function: Callable[..., Any], spent: _Budget) -> Callable[..., Any]:
    """A filter whose results are paid for."""
    from functools import wraps

    @wraps(function)  # Jinja2 marks filters that want the context on the function itself
    def paid(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        spent(_size(result))
        return result

    return paid


def _replace(spent: _Budget) -> Callable[[Any, str, str], str]:
    def replace(value: Any, old: str, new: str) -> str:
        text = str(value)
        spent(len(text) + text.count(str(old)) * len(str(new)))
        return text.replace(str(old), str(new))

    return replace


def _join(spent: _Budget) -> Callable[..., str]:
    def join(value: Sequence[Any], separator: str = "") -> str:
        spent(len(value) * len(str(separator)))
        parts = [str(part) for part in value]
        spent(sum(map(len, parts)))
        return str(separator).join(parts)

    return join


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(_size, value)) + len(value)
    return value.bit_length() // 8 if isinstance(value, int) else 1


def _product(left: Any, right: Any) -> int:
    """What `left * right` will take, before it is made."""
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(times, int):
            return (_size(one) + 1) * max(times, 0)
    return _size(left) + _size(right)


def _check(tree: nodes.Template) -> None:
    """Refuse what isn't an expression or an `if`, and what is too large to compile quickly."""
    pending: list[tuple[nodes.Node, int]] = [(tree, 0)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        kind = type(node).__name__
        if depth > DEPTH or count > NODES:
            raise _Refused(
                "it is too long" if count > NODES else "it is nested too deeply", "write it in simpler parts"
            )
        if kind not in _NODES:
            what = _STATEMENTS.get(kind, f"{kind} is")
            raise _Refused(f"{what} not available in a manifest", "use {{ … }} and {% if … %}")
        children = list(node.iter_child_nodes())
        if kind == "Name" and node.name == "self":  # type: ignore[attr-defined]
            raise _Refused("'self' is undefined")  # Jinja2 would show the template itself
        if kind == "Getattr":
            raise _attribute(node)
        if kind == "Call" and type(children[0]).__name__ == "Getattr":
            if children[0].attr not in _METHODS:  # type: ignore[attr-defined]
                raise _attribute(children[0])
            children[0:1] = children[0].iter_child_nodes()
        elif kind == "Call":
            raise _Refused("there are no functions to call here", f"filters: {', '.join(_FILTERS)}")
        pending.extend((child, depth + 1) for child in children)


def _attribute(node: nodes.Node) -> _Refused:
    name = str(node.attr)  # type: ignore[attr-defined]
    return _Refused(f"values have no attribute {name!r}", f"variables are plain texts: write {{{{ {name} }}}}, maybe")


def _joined(tree: nodes.Template) -> nodes.Template:
    """`a ~ b` as `[a, b] | join`, which is paid for; Jinja2's own isn't interceptable."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Joiner(NodeTransformer):
        def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
            parts = nodes.List([self.visit(part) for part in node.nodes], lineno=node.lineno)
            return nodes.Filter(parts, "join", [], [], None, None, lineno=node.lineno)

    result: nodes.Template = Joiner().visit(tree)
    if tree.environment is not None:
        result.set_environment(tree.environment)
    return result


def _undefined(reason: str, variables: Mapping[str, str]) -> _Refused:
    match = re.match("'([^']*)' is undefined", reason)
    if not match:
        return _Refused(reason)
    near = get_close_matches(match[1][:100], list(variables), 1, 0.6)
    known = ", ".join(sorted(variables)) or "none"
    return _Refused(reason, f"did you mean {near[0]!r}?" if near else f"the names known here: {known}")


def _hint(reason: str) -> str:
    return f"filters: {', '.join(_FILTERS)}" if "filter" in reason.lower() else "see Jinja2's template syntax"


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
