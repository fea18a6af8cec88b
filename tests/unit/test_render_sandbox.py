"""A manifest's strings: what they may say, and that nothing they say is expensive."""

from __future__ import annotations

import resource
import sys
import time

import pytest

from devenv.errors import DevenvError
from devenv.render import expand
from devenv.render.sandbox import OUTPUT

BIG = "x" * 65536
VARIABLES = {"django": "5.2", "arch": "amd64", "project": "shop", "big": BIG, "template": "{{ arch }}"}

SAID = {
    "django=={{ django }}": "django==5.2",
    "no braces": "no braces",
    "{{ template }}": "{{ arch }}",
    "{{ django ~ '-' ~ arch }}": "5.2-amd64",
    "{{ django + '.1' }}": "5.2.1",
    "{{ missing | default('x') }}": "x",
    "{% if arch == 'amd64' %}x64{% elif arch == 'i386' %}x86{% else %}{{ arch }}{% endif %}": "x64",
    "{{ 'new' if django != '4.2' else 'old' }}": "new",
    "{{ 'yes' if missing is defined else 'no' }}": "no",
    "{{ django.split('.')[0] }}": "5",
    "{{ django.split('.') | join('-') }}": "5-2",
    "{{ project | upper | replace('S', 's') }}": "sHOP",
    "{{ (django | float) > 5 }}": "True",
    "{{ project[1:3] }}{{ project[-1] }}": "hop",
    "{# nothing #}{% raw %}{{ x }}{% endraw %}\n": "{{ x }}\n",
    "{{ 2 * 3 + 7 % 4 }} {{ '=' * 3 }}": "9 ===",
    "{{ big | length }}": "65536",
}

REFUSED = {
    "power": "{{ 10**10**8 }}",
    "loops": "{% for a in big %}{% for b in big %}{% for c in big %}x{% endfor %}{% endfor %}{% endfor %}",
    "long text": "{{ 'a' * 1000000000 }}",
    "long text in two": "{{ 'a' * 100000 * 100000 }}",
    "long list": "{{ [1] * 1000000000 }}",
    "replace": "{{ big | replace('x', big) }}",
    "replace nothing": "{{ big | replace('', big) }}",
    "join": "{{ big | join(big) }}",
    "join twice": "{{ ([big, big] | join(',')) * 200 }}",
    "formatting": "{{ '%1000000000d' % 1 }}",
    "format method": "{{ '{:1000000000}'.format(1) }}",
    "format_map": "{{ 'x'.format_map(1) }}",
    "format filter": "{{ '%9999999d' | format(1) }}",
    "padding": "{{ 'x'.ljust(1000000000) }}",
    "center": "{{ 'x' | center(1000000000) }}",
    "range": "{{ range(1000000000) | join }}",
    "lipsum": "{{ lipsum(1000000) }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "classes by item": "{{ ''['__class__'] }}",
    "classes by filter": "{{ '' | attr('__class__') }}",
    "classes by map": "{{ [''] | map(attribute='__class__') | list }}",
    "method as a value": "{{ arch['upper'] }}",
    "method unused": "{{ arch.upper }}",
    "undefined's insides": "{{ missing.__init__.__globals__ }}",
    "itself": "{{ self }}",
    "itself deeper": "{{ self.__init__.__globals__ }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import '/etc/passwd' as x %}",
    "extends": "{% extends '/etc/passwd' %}",
    "set": "{% set a = 'x' %}",
    "macro": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "nested": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "nested lists": "{{ " + "[" * 20000 + "]" * 20000 + " }}",
    "many signs": "{{ " + "-" * 60000 + "1 }}",
    "many nots": "{{ " + "not " * 15000 + "1 }}",
    "long sum": "{{ " + "big+" * 15000 + "big }}",
    "long concatenation": "{{ " + "big ~ " * 9000 + "big }}",
    "many outputs": "{{ big }}" * 4000,
    "many searches": "{{ big in big }}" * 4000,
    "many calls": "{{ " + " ~ ".join(["big.upper()[0]"] * 3000) + " }}",
    "long number": "{{ " + "9" * 50000 + " }}",
    "long product": "{{ " + "*".join(["9" * 4000] * 15) + " }}",
    "long source": "{{ arch }}" + "x" * 70000,
    "open comments": "{#" * 30000,
    "open tags": "{%" * 30000,
    "open text": "{{ '" + "{{" * 30000,
    "division": "{{ 1 / 0 }}",
    "syntax": "{{ arch ",
    "no text": "{{ arch + 1 }}",
}


@pytest.mark.parametrize("text", SAID)
def test_expand_says_what_the_template_says(text: str) -> None:
    assert expand(text, VARIABLES) == SAID[text]


@pytest.mark.parametrize("name", REFUSED)
def test_expand_refuses_with_one_error_soon(name: str) -> None:
    start = time.process_time()
    with pytest.raises(DevenvError) as caught:
        expand(REFUSED[name], VARIABLES)
    assert time.process_time() - start < 5
    assert len(caught.value.message) < 400 and "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["{{ " + "[" + "big," * 4900 + "] == 1 }}", "{{ django }}" * 3300, "{{ big in [" + "big," * 4000 + "] }}"]
)
def test_expand_does_long_work_soon(text: str) -> None:
    start = time.process_time()
    expand(text, VARIABLES)
    assert time.process_time() - start < 5


def test_expand_needs_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in REFUSED.values():
        with pytest.raises(DevenvError):
            expand(text, VARIABLES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 * OUTPUT // 1024


def test_expand_stops_at_the_limit_of_output() -> None:
    assert len(expand("{{ big }}" * 255, VARIABLES)) == 255 * 65536
    with pytest.raises(DevenvError, match="more than 16 MiB"):
        expand("{{ big }}" * 257, VARIABLES)


def test_expand_suggests_the_nearest_name() -> None:
    with pytest.raises(DevenvError) as caught:
        expand("{{ djnago }}", VARIABLES)
    assert "'djnago' is undefined" in caught.value.message
    assert caught.value.hint == "did you mean 'django'?"


def test_expand_lists_the_names_when_none_is_near() -> None:
    with pytest.raises(DevenvError) as caught:
        expand("{{ zzz }}", {"b": "", "a": ""})
    assert caught.value.hint == "the names known here: a, b"


def test_expand_shows_hostile_text_escaped() -> None:
    with pytest.raises(DevenvError) as caught:
        expand("\x1b[2J{{ x", {})
    assert "\x1b" not in caught.value.message


def test_expand_leaves_plain_text_without_jinja() -> None:
    import subprocess

    code = "import sys; from devenv.render import expand; expand('plain', {}); sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
