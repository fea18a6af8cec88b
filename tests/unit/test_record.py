"""What is written down comes back equal; what an older devenv wrote is still read."""

from __future__ import annotations

import json

import pytest

from devenv.engine.native.records.record import spec_text, spec_value
from devenv.model.container import ContainerSpec, Process
from devenv.model.manifest import Healthcheck, Limits, Mount, Port, Restart, Source

PLAIN = ContainerSpec("e", "workspace", "shop", "sha256:1", Process(("a", "b"), (("A", "x=y"),), "user", "/w", True))

FULL = PLAIN._replace(
    sources=(Source("/a", "/b", "ro"),),
    volumes=(("data", "/data"),),
    ports=(Port(80, 8080), Port(53, None, "0.0.0.0", "udp", 60)),
    limits=Limits(1 << 20, 0.5, 10),
    inputs=(("image", "k"),),
    service="web",
    index=3,
    mounts=(Mount("/t", volume="v", readonly=True), Mount("/u", path="/host")),
    secrets=("A", "B"),
    healthcheck=Healthcheck("true", 0.5, 1.5, 7, 2.0),
    restart=Restart("on-failure", 5),
    stop_grace=0.25,
)


@pytest.mark.parametrize("spec", [PLAIN, FULL])
def test_record_of_a_spec_comes_back(spec: ContainerSpec) -> None:
    assert spec_value(spec_text(spec)) == spec
    assert spec_value(json.loads(spec_text(spec))) == spec


def test_record_of_before_services_is_read_with_defaults() -> None:
    old = json.loads(spec_text(PLAIN._replace(ports=(Port(80, 8080),))))
    for name in ("service", "index", "mounts", "secrets", "healthcheck", "restart", "stop_grace"):
        del old[name]
    for port in old["ports"]:
        del port["last"]
    assert spec_value(json.dumps(old)) == PLAIN._replace(ports=(Port(80, 8080),))
