"""A locked section → the parcels that templates name, their digests, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from devenv.lock.parcels import digest, listing, parcels
from devenv.model.lock import Dist, Parcel, Remote, Section
from devenv.render import containerfile, templates_folder

from .render_cases import CASES, INTERPRETER, deb, debs, dist, module, node, python, section, sha256


@pytest.mark.parametrize("name", CASES)
def test_templates_take_all_the_parcels_there_are_and_no_others(name: str) -> None:
    manifest, given = CASES[name]
    text = containerfile(manifest, templates_folder(), given)
    taken = re.findall(r"from=devenv-packages[, ](?:source=)?([\w/]+)", text)
    assert set(taken) == set(parcels(given))


def test_each_layer_is_a_parcel() -> None:
    given = section(["git perl", "", "jq"], "git jq", python=python("pip six", "", "flask psycopg2==2.9.tar.gz"))
    found = parcels(given)
    assert {name: listing(parcel) for name, parcel in found.items()} == {
        "apt/1": "git 1.0-1, perl 1.0-1",
        "apt/3": "jq 1.0-1",
        "python/1": "pip 1.0, six 1.0",
        "python/3": "flask 1.0",
        "python/sources": "psycopg2 2.9",
    }


def test_each_layer_of_npm_packages_is_a_parcel() -> None:
    locked = node("24.1.1", "typescript@5.9.3", "lit@3.0.0")
    later = module("zod@4.0.0")._replace(layer=3)
    found = parcels(section(node=locked._replace(tools=(*locked.tools, later), project=(*locked.project, later))))
    assert {name: (parcel.kind, listing(parcel)) for name, parcel in found.items() if name != "node/runtime"} == {
        "node/tools/1": ("tools", "typescript 5.9.3"),
        "node/tools/3": ("tools", "zod 4.0.0"),
        "node/project/1": ("modules", "lit 3.0.0"),
        "node/project/3": ("modules", "zod 4.0.0"),
    }


@pytest.mark.parametrize("layers", [("pip", "six"), ("", "pip", "six"), ("x==1.0.tar.gz", "pip", "six")])
def test_the_first_layer_of_python_has_the_environment_itself(layers: tuple[str, ...]) -> None:
    found = parcels(section(python=python(*layers)))
    sites = [parcel for _, parcel in sorted(found.items()) if parcel.kind == "site"]
    assert [site.command for site in sites] == ["/usr/bin/python3", *[""] * (len(sites) - 1)]


def test_a_layer_of_python_is_the_same_whatever_is_beside_it() -> None:
    alone, beside = (
        parcels(section(python=python(*layers)))["python/2"] for layers in (("", "numpy"), ("six", "numpy"))
    )
    assert alone == beside


def test_python_without_packages_is_an_environment() -> None:
    (site,) = parcels(section(python=python("x==1.0.tar.gz")))["python/1"].dists or (None,)
    assert site is None


def test_source_archives_come_with_what_builds_them() -> None:
    given = section(python=python("pip x==1.0.tar.gz", build=(dist("setuptools==80.9.0"),)))
    assert listing(parcels(given)["python/sources"]) == "setuptools 80.9.0, x 1.0"


def test_the_interpreter_is_a_parcel() -> None:
    found = parcels(section(python=python("pip", version="3.13.1", interpreter=INTERPRETER)))["python/interpreter"]
    assert (found.version, found.interpreter) == ("3.13.1", INTERPRETER)


DEBS = Parcel("debs", debs=debs("git=1:2 jq perl:all"))
SITE = Parcel("site", dists=(dist("six==1.17"), dist("pip")), version="3.11.2", command="/usr/bin/python3")
MODULES = Parcel("modules", modules=node("24.1.1", project="lit@3.0.0 esbuild@1.0.0!").project)
WHEELS = Parcel("wheels", version="3.13.1", interpreter=INTERPRETER)

SAME: dict[str, tuple[Parcel, Callable[[Parcel], Parcel]]] = {
    "order of debs": (DEBS, lambda one: one._replace(debs=one.debs[::-1])),
    "layer of debs": (DEBS, lambda one: one._replace(debs=tuple(deb._replace(layer=7) for deb in one.debs))),
    "address of debs": (
        DEBS,
        lambda one: one._replace(
            debs=tuple(deb._replace(url=f"https://{deb.name}.example/x", path="x") for deb in one.debs)
        ),
    ),
    "order of dists": (SITE, lambda one: one._replace(dists=one.dists[::-1])),
    "layer of dists": (SITE, lambda one: one._replace(dists=tuple(dist._replace(layer=2) for dist in one.dists))),
    "address of dists": (
        SITE,
        lambda one: one._replace(dists=tuple(dist._replace(url="https://x") for dist in one.dists)),
    ),
    "order of modules": (MODULES, lambda one: one._replace(modules=one.modules[::-1])),
    "address of modules": (
        MODULES,
        lambda one: one._replace(modules=tuple(one._replace(url="https://x") for one in one.modules)),
    ),
    "layer of modules": (
        MODULES,
        lambda one: one._replace(modules=tuple(one._replace(layer=2) for one in one.modules)),
    ),
    "address of the interpreter": (WHEELS, lambda one: one._replace(interpreter=INTERPRETER._replace(url="uv:x"))),
}
OTHER: dict[str, tuple[Parcel, Callable[[Parcel], Parcel]]] = {
    "one deb less": (DEBS, lambda one: one._replace(debs=one.debs[:-1])),
    "bytes of a deb": (DEBS, lambda one: one._replace(debs=(deb("jq")._replace(sha256=sha256("x")), *one.debs[1:]))),
    "one dist less": (SITE, lambda one: one._replace(dists=one.dists[:-1])),
    "bytes of a dist": (
        SITE,
        lambda one: one._replace(dists=(one.dists[0]._replace(sha256=sha256("x")), one.dists[1])),
    ),
    "file of a dist": (SITE, lambda one: one._replace(dists=(one.dists[0]._replace(file="x.whl"), one.dists[1]))),
    "python": (SITE, lambda one: one._replace(version="3.11.3")),
    "where python is": (SITE, lambda one: one._replace(command="/usr/local/bin/python3")),
    "a further layer": (SITE, lambda one: one._replace(command="")),
    "kind": (MODULES, lambda one: one._replace(kind="tools")),
    "place of a module": (MODULES, lambda one: one._replace(modules=(one.modules[0]._replace(path="node_modules/x"),))),
    "bytes of a module": (MODULES, lambda one: one._replace(modules=(module("lit@3.0.1"), one.modules[1]))),
    "scripts": (MODULES, lambda one: one._replace(modules=tuple(one._replace(scripts=False) for one in one.modules))),
    "commands": (
        MODULES,
        lambda one: one._replace(modules=tuple(one._replace(bins=(("a", "b"),)) for one in one.modules)),
    ),
    "bytes of the interpreter": (WHEELS, lambda one: one._replace(interpreter=Remote("x", 1, sha256("x")))),
}


@pytest.mark.parametrize("name", SAME)
def test_digest_is_of_the_content_only(name: str) -> None:
    parcel, change = SAME[name]
    assert change(parcel) != parcel
    assert digest(change(parcel)) == digest(parcel)


@pytest.mark.parametrize("name", OTHER)
def test_digest_is_of_all_the_content(name: str) -> None:
    parcel, change = OTHER[name]
    assert digest(change(parcel)) != digest(parcel)


def test_digests_of_different_parcels_differ() -> None:
    """Debs and wheels of one name and digest, none at all, and each kind of nothing."""
    same = (deb("x")._replace(name="x"),), (Dist("x", "1.0-1", 1, deb("x").sha256, "x"),)
    made = [Parcel("debs", debs=same[0]), Parcel("wheels", dists=same[1]), Parcel("site", dists=same[1])]
    made += [Parcel(kind) for kind in ("debs", "wheels", "site", "runtime", "tools", "modules")]
    assert len({digest(parcel) for parcel in made}) == len(made)


def test_listing_names_modules_by_their_place() -> None:
    one = module("lit@3.0.0")
    nested = one._replace(path="node_modules/a/node_modules/lit")
    assert listing(Parcel("modules", modules=(nested, one))) == "a/node_modules/lit 3.0.0, lit 3.0.0"


def test_no_lock_is_no_parcels() -> None:
    assert parcels(Section("amd64")) == {}
