"""What of the host is lent to containers for as long as they run, and never written into an image: certificates, proxies, DNS.

Registries too, for build steps only: pip's, uv's and npm's settings in the environment, so that a company's mirror works inside.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from devenv.model.manifest import Pairs

from ..slot.address import nameservers

Services = tuple[tuple[str, int], ...]
"""On the host's loopback: (address, TCP port)."""

CERTIFICATES = "/run/devenv/certificates.pem"
"""Where the bundle is inside."""

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_NO = ("no", "false", "without", "off", "disable", "0")
_REGISTRIES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_PYTHON_DOWNLOADS_JSON_URL",
)
_ON_LOOPBACK = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)?(?P<user>[^@/]*@)?(?P<host>localhost|127(?:\.\d{1,3}){3})(?::(?P<port>\d{1,5}))?(?=[/?#]|$)",
    re.IGNORECASE,
)
_PORTS = {"https://": 443, "socks5://": 1080, "socks5h://": 1080, "socks4://": 1080, "ftp://": 21}
_UPSTREAM = "/run/systemd/resolve/resolv.conf"
_RESOLVER_WORDS = ("search", "domain", "options", "sortlist")


def bundles(certificates: str) -> tuple[str, ...]:
    """Where the bundle may be: for `host` the system's places, none for `none`, else the path given."""
    if certificates == "host":
        return _BUNDLES
    return () if certificates == "none" else (certificates,)


def bundle(certificates: str) -> str:
    """The host path of the bundle, the system's own through no link; "" when there is none."""
    if certificates == "host":
        return next((os.path.realpath(path) for path in _BUNDLES if os.path.isfile(path)), "")
    return "" if certificates == "none" else certificates


def certificate_variables(path: str) -> Pairs:
    """Variables that make the usual programs use the bundle; none without one."""
    return tuple((name, CERTIFICATES) for name in _CERTIFICATE_VARIABLES) if path else ()


def proxy_variables(env: Mapping[str, str]) -> Pairs:
    """The host's proxy settings, in both spellings."""
    found = [(name, env.get(name) or env.get(name.upper())) for name in _PROXIES]
    return tuple((spelt, value) for name, value in found if value for spelt in (name, name.upper()))


def registry_variables(env: Mapping[str, str]) -> Pairs:
    """Where uv and npm look for packages and Pythons, when the host's configuration says so."""
    found = {name: env[name] for name in _REGISTRIES if env.get(name)}
    index = env.get("PIP_INDEX_URL") or _pip_setting("index-url")
    if index and not found.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}:
        found["UV_DEFAULT_INDEX"] = index
    registry = env.get("NPM_CONFIG_REGISTRY") or env.get("npm_config_registry") or _npm_setting("registry", env)
    if registry:
        found["NPM_CONFIG_REGISTRY"] = registry
    return tuple(sorted(found.items()))


def through(variables: Pairs, gateway: str) -> tuple[Pairs, Services]:
    """URLs on the host's loopback as seen from a container, where they lead to the gateway, and what is to be lent there."""
    found, services = [], set()
    for name, value in variables:
        match = _ON_LOOPBACK.match(value) if name.lower() != "no_proxy" else None
        if match:
            scheme, user, port = match["scheme"] or "", match["user"] or "", match["port"]
            address = "127.0.0.1" if match["host"].lower() == "localhost" else match["host"]
            services.add((address, int(port or _PORTS.get(scheme.lower(), 80))))
            value = f"{scheme}{user}{gateway}{f':{port}' if port else ''}{value[match.end() :]}"
        found.append((name, value))
    return tuple(found), tuple(sorted(services))


def apt_proxies(variables: Pairs) -> tuple[str, ...]:
    """apt.conf lines for these proxies."""
    proxies = dict(variables)
    found = [(scheme, proxies.get(f"{scheme}_proxy", "")) for scheme in ("http", "https")]
    return tuple(
        f'Acquire::{scheme}::Proxy "{proxy}";' for scheme, proxy in found if proxy and not set(proxy) & set('"\n;')
    )


def apt_age(folder: str = "/etc/apt") -> tuple[str, ...]:
    """apt.conf lines for the host's word that its archives may be old, as a mirror of a day past is (apt.conf(5))."""
    parts = f"{folder}/apt.conf.d"
    names = sorted(os.listdir(parts)) if os.path.isdir(parts) else []
    text = "\n".join(_text(path) for path in (*(f"{parts}/{name}" for name in names), f"{folder}/apt.conf"))
    said = re.findall(r'^\s*Acquire::Check-Valid-Until\s+"?(\w+)"?\s*;', text, re.M | re.I)
    return ('Acquire::Check-Valid-Until "false";',) if said and said[-1].lower() in _NO else ()


def apt_settings(certificates: str, proxies: Pairs, age: tuple[str, ...] = ()) -> bytes:
    """An apt.conf for build steps: the bundle, the proxies, what `apt_age` says; b"" when there is nothing to say."""
    bundle_line = (f'Acquire::https::CaInfo "{CERTIFICATES}";',) if certificates else ()
    return "".join(f"{line}\n" for line in (*bundle_line, *apt_proxies(proxies), *age)).encode()


def resolv_conf(gateway: str, own: str = "/etc/resolv.conf", upstream: str = _UPSTREAM) -> bytes:
    """A container's resolv.conf: the host's servers, those on its loopback at the gateway; its search list and options."""
    text = _text(own)
    servers, _ = nameservers(text, _text(upstream), gateway)
    kept = [line for line in text.splitlines() if line.startswith(_RESOLVER_WORDS)]
    return "".join(f"{line}\n" for line in (*(f"nameserver {server}" for server in servers), *kept)).encode()


def hosts(hostname: str, names: tuple[str, ...], address: str) -> bytes:
    """/etc/hosts: loopback, and the container's own names at its address."""
    own = f"{address or '127.0.1.1'}\t{' '.join(dict.fromkeys((hostname, *names)))}\n"
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}".encode()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def _pip_setting(name: str) -> str:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(["/etc/pip.conf", "/etc/xdg/pip/pip.conf", os.path.expanduser("~/.config/pip/pip.conf")])
        return parser.get("global", name, fallback="")
    except configparser.Error:
        return ""


def _npm_setting(name: str, env: Mapping[str, str]) -> str:
    for path in (env.get("NPM_CONFIG_USERCONFIG", os.path.expanduser("~/.npmrc")), "/etc/npmrc"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    key, equals, value = line.partition("=")
                    if equals and key.strip() == name:
                        return _unquoted(value.strip())
        except OSError:
            continue
    return ""


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value
