"""A manifest read as one of its variants, or with edits; what is wrong with a variant is told where it stands."""

from __future__ import annotations

import pytest

from devenv.errors import InputError
from devenv.manifest import AS_WRITTEN, Altered, parse
from devenv.manifest.variants import Edit
from devenv.model.manifest import From, Manifest, Python
from devenv.render.sandbox import expand

SHOP = """
name: shop
from: bootstrap:bookworm
vars: {django: "5.2", cache: redis}
apt: [git, curl]
python:
  version: "3.11"
  packages: ["django=={{ django }}", "gunicorn"]
env: {DEBUG: "1"}
services:
  db: {apt: [postgresql], env: {MODE: a}, replicas: 2}
variants:
  next:
    vars: {django: "6.0"}
  other:
    from: bootstrap:trixie
    apt: [jq]
    python: {version: null}
    env: {MORE: x}
    services: {db: {env: {MODE: b}}}
  bare: null
"""


def read(text: str = SHOP, altered: Altered = AS_WRITTEN) -> Manifest:
    return parse(text.encode(), "/p/shop/devenv.yml", facts={"arch": "amd64"}, expand=expand, altered=altered)


def refused(text: str, altered: Altered = AS_WRITTEN) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text, altered)
    return str(caught.value).replace("/p/shop/", "").splitlines()


def test_as_written_knows_its_variants_and_is_none() -> None:
    manifest = read()
    assert manifest.variants == ("next", "other", "bare") and manifest.variant == ""
    assert manifest.python and manifest.python.packages[0] == "django==5.2"


def test_a_variable_goes_wherever_it_is_used() -> None:
    manifest = read(altered=Altered("next"))
    assert manifest.variant == "next" and manifest.python
    assert manifest.python.packages == ("django==6.0", "gunicorn") and dict(manifest.vars)["cache"] == "redis"


def test_mappings_are_merged_lists_replaced_and_null_takes_away() -> None:
    plain, other = read(), read(altered=Altered("other"))
    assert other.base == From("bootstrap", "trixie") and other.apt == ("jq",)
    assert other.python == Python(None, (), ("django==5.2", "gunicorn"))
    assert dict(other.env) == {"DEBUG": "1", "MORE": "x"}
    (service,) = other.services
    assert [dict(one.env) for one in service.replicas] == [{"MODE": "b"}] * 2
    assert service.image and service.image.base == From("bootstrap", "trixie")
    assert other.name == plain.name == "shop"


def test_one_that_changes_nothing_is_the_manifest_itself() -> None:
    bare, plain = read(altered=Altered("bare")), read()
    assert bare._replace(variant="", places={}) == plain._replace(places={})


def test_edits_replace_add_and_make() -> None:
    edits = (
        Edit(("python", "packages", 1), "gunicorn==22", "gunicorn"),
        Edit(("python", "packages", 2), "urllib3==2.0"),
        Edit(("node", "version"), "22"),
        Edit(("services", "db", "apt", 0), "postgresql=17*", "postgresql"),
    )
    manifest = read(altered=Altered("next", edits, called="new"))
    assert manifest.python and manifest.python.packages == ("django==6.0", "gunicorn==22", "urllib3==2.0")
    assert manifest.node and manifest.node.version == "22" and manifest.variant == "next"
    assert manifest.services[0].image and manifest.services[0].image.apt == ("postgresql=17*",)
    assert read(altered=Altered(edits=edits, called="new")).variant == "new"


def test_files_read_otherwise_for_the_images_of_services_too() -> None:
    manifest = read(altered=Altered(files=(("requirements.txt", b"six"),)))
    assert manifest.edited == (("requirements.txt", b"six"),)
    assert manifest.services[0].image and manifest.services[0].image.edited == manifest.edited


def test_a_fault_of_a_variant_is_told_where_it_stands() -> None:
    assert refused("from: bootstrap:bookworm\nvariants:\n  next: {python: {version: nine}}\n")[0].startswith(
        "devenv.yml:3:28: variant next: `python.version`: 'nine' is not a Python version"
    )


def test_a_variable_taken_away_is_missed_where_it_is_used() -> None:
    text = "from: bootstrap:bookworm\nvars: {a: x}\nenv: {B: '{{ a }}'}\nvariants:\n  next: {vars: {a: null}}\n"
    assert refused(text)[0].startswith("devenv.yml:3:10: variant next: `env.B`: expand '{{ a }}': 'a' is undefined")


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("{next: {nme: x}}", "3:19: unknown key 'nme' in `variants.next`"),
        ("{next: {name: x}}", "3:19: `variants.next`: no variant has `name` of its own"),
        ("{next: {variants: {}}}", "3:19: `variants.next`: no variant has `variants` of its own"),
        ("{next: [a]}", "3:18: `variants.next` must be a mapping"),
        ("{baseline: {}}", "3:12: `variants`: 'baseline' is what the manifest is without any"),
        ("{'A b': {}}", "3:12: `variants`: 'A b' can't be the name of a variant"),
        ("[next]", "3:11: `variants` must be a mapping"),
        ("{next: {roles: x}}", "3:19: unknown key 'roles' in `variants.next`"),
    ],
)
def test_what_no_variant_can_be(variants: str, message: str) -> None:
    lines = refused(f"name: shop\nfrom: bootstrap:bookworm\nvariants: {variants}\n")
    assert lines[0].startswith(f"devenv.yml:{message}")


def test_a_variant_that_isnt_there_is_named_with_those_that_are() -> None:
    assert "there is no variant 'nxt'" in refused(SHOP, Altered("nxt"))[0]
    assert "did you mean 'next'?" in "".join(refused(SHOP, Altered("nxt")))
    assert "it has no `variants:`" in "".join(refused("from: bootstrap:sid\n", Altered("nxt")))
