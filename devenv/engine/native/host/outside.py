"""Name servers and package mirror, asked by a thread -> Checks: an answer that is late counts as none."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from devenv.errors import EngineError
from devenv.model.host import Check

from ..slot import address
from . import archives
from .attempt import read

_PATIENCE = 0.7  # seconds that a name or a mirror may take to answer


class Outside:
    """Asks from its making on."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.resolved = self.reached = False
        self.trouble = ""
        self.uri = ""
        try:
            self.uri = archives.archive().main
        except EngineError as error:
            self.trouble = error.message
        self.proxy = _proxy(self.uri, env)
        self.host, self.port = _endpoint(self.proxy or self.uri)
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def names(self) -> Check:
        with_servers = address.nameservers(read("/etc/resolv.conf"), read("/run/systemd/resolve/resolv.conf"), "")
        servers = [server or with_servers[1] for server in with_servers[0]]
        if not servers:
            return Check("name servers", False, "/etc/resolv.conf names none (IPv4)", "name one in /etc/resolv.conf")
        self._thread.join(_PATIENCE)
        found = ", ".join(servers)
        if self.host and not self.resolved:
            fix = "see /etc/resolv.conf, and the firewall"
            return Check("name servers", False, f"{found}: {self.host} isn't found", fix)
        return Check("name servers", True, found)

    def mirror(self) -> Check:
        if not self.uri:
            return Check("package mirror", False, self.trouble, "say `mirror: URL` in the manifest")
        self._thread.join(_PATIENCE)
        where = f"{self.uri} through the proxy {self.host}:{self.port}" if self.proxy else self.uri
        if self.reached:
            return Check("package mirror", True, where)
        fix = "set another http_proxy, or none" if self.proxy else "set http_proxy if one is needed"
        why = self.trouble or "no answer"
        return Check("package mirror", False, f"{where}: {why}", f"{fix}; or say `mirror: URL` in the manifest")

    def _ask(self) -> None:
        import socket

        if not self.host:
            self.trouble = "the proxy's URL names no host" if self.proxy else ""
            return
        try:
            socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.resolved = True
            socket.create_connection((self.host, self.port), 2).close()
            self.reached = True
        except OSError as error:
            self.trouble = error.strerror or str(error)


def _proxy(uri: str, env: Mapping[str, str]) -> str:
    """The proxy that apt would ask for this URI, "" for none."""
    from urllib.parse import urlsplit

    scheme = urlsplit(uri).scheme
    proxy = env.get(f"{scheme}_proxy") or env.get(f"{scheme}_proxy".upper()) or ""
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _endpoint(uri: str) -> tuple[str, int]:
    """Host and port of a URL. ("", 0) without one."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(uri)
        return parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return "", 0
