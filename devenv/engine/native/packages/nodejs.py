"""The packages that Node.js and npm come in → /opt/node, laid out as Node.js's own archive is, of hard links."""

from __future__ import annotations

from devenv.errors import StoreError
from devenv.model import npm

from .node_modules import Packages, global_prefix
from .tree import linked

_ARCHS = "/openssl/archs/"


def runtime(folder: str, arch: str, packages: Packages) -> None:
    """Make `folder` of NodeLock.runtime; `arch` is Debian's name. Without the manual and the headers for other machines,
    which are half of all files. Raises StoreError.
    """
    machine = npm.MACHINES.get(arch)
    found = {npm.name(module): (module, tree) for module, tree in packages}
    archive = f"node-linux-{machine.package if machine else arch}"
    if not machine or found.keys() != {archive, "npm"}:
        raise StoreError(
            f"make Node.js for {arch}: the lock has {' and '.join(sorted(found)) or 'nothing'} for it",
            hint="`devenv lock --upgrade` writes the lock anew",
        )

    def node(path: str) -> str:
        if path != "bin/node" and not path.startswith("include/"):
            return ""
        machine_of, within, _ = path.partition(_ARCHS)[2].partition("/")
        return "" if within and machine_of != machine.openssl else path

    linked([found[archive][1]], folder, node)
    global_prefix(folder, [found["npm"]], lambda path: "" if path.startswith(("docs/", "man/")) else path)
