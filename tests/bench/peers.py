"""`make bench-peers`: installs what devenv is measured against from the host's configured mirrors; starts nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import npm
from .contenders import HOME, make_base

PACKAGES = (
    "docker.io",
    "docker-compose",
    "podman",
    "buildah",
    "netavark",
    "aardvark-dns",
    "iptables",
    "runc",
    "mmdebstrap",
    "nftables",
    "wrk",
)
POLICY = "/usr/sbin/policy-rc.d"


def main() -> int:
    """Install what is missing; the exit code."""
    if os.geteuid() or not shutil.which("apt-get"):
        print(
            f"bench-peers: needs root on Debian or a relative of it; elsewhere install {', '.join(PACKAGES)}",
            file=sys.stderr,
        )
        return 1
    with _services_stay_down():
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=env)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES], check=True, env=env)
    os.makedirs(HOME, exist_ok=True)
    if shutil.which("npm"):
        subprocess.run(["npm", "install", "--no-save", "--prefix", f"{HOME}/npm", "@devcontainers/cli"], check=True)
        npm.node_files()
    else:
        print(
            "bench-peers: no npm here, so the devcontainers CLI and npm builds are left out (apt-get install npm)",
            file=sys.stderr,
        )
    make_base()
    print(f"bench-peers: ready; `make bench` starts and stops them. What isn't a Debian package is in {HOME}")
    return 0


@contextmanager
def _services_stay_down() -> Iterator[None]:
    """Debian's packages start their services unless policy-rc.d says no, and a benchmark may not leave a daemon."""
    if os.path.exists(POLICY):
        yield
        return
    with open(POLICY, "w") as file:
        file.write("#!/bin/sh\nexit 101\n")
    os.chmod(POLICY, 0o755)
    try:
        yield
    finally:
        os.unlink(POLICY)


if __name__ == "__main__":
    sys.exit(main())
