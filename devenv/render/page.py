"""Values → a self-contained HTML page. Every value is escaped; the page may load nothing, and runs no script but its own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256

from devenv.errors import DevenvError

from .templates import source

_STYLE, _SCRIPT = "report.css", "report.js"


def page(templates: str, name: str, values: Mapping[str, object]) -> str:
    """The template `name` with `values`, its style and script inside it, and the policy that allows those two by their digests.

    Raises DevenvError when a template is at fault.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateError  # 60 ms: only where one is made
    from markupsafe import Markup

    style, script = (_whole(templates, part) for part in (_STYLE, _SCRIPT))
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda part: source(templates, part)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    given = {"style": Markup(style), "script": Markup(script), "policy": _policy(style, script)}
    try:
        return environment.get_template(name).render({**values, **given})
    except TemplateError as error:
        place = f"{getattr(error, 'filename', None) or name}:{getattr(error, 'lineno', None) or 0}"
        raise DevenvError(f"render {place}: {error}", hint=f"the templates are in {templates}") from error


def _policy(style: str, script: str) -> str:
    """Content Security Policy Level 3, § 2.3.1: sources named by what they are."""
    own = [f"{kind}-src 'sha256-{_digest(text)}'" for kind, text in (("style", style), ("script", script))]
    return "; ".join(("default-src 'none'", *own, "base-uri 'none'", "form-action 'none'"))


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _whole(templates: str, name: str) -> str:
    text = source(templates, name)
    if text is None:
        raise DevenvError(f"read template {name}: it isn't there", hint=f"the templates are in {templates}")
    return text
