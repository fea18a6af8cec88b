"""The text of one value of a service, a volume or a secret → what it means. Each function raises Wrong, as in values.py."""

from __future__ import annotations

import re

from devenv.model.manifest import Healthcheck, Mount, Port, Restart, Secret

from . import values
from .values import Wrong, nearest, show

MOST = 1000
"""Replicas of a service, and containers of all services together: a bridge has 1,023 ports."""

SERVICE = "[a-z][a-z0-9]*(-[a-z0-9]+)*"
VOLUME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
SECRET = "[A-Za-z_][A-Za-z0-9_.-]{0,62}"
PROFILE = "[a-z0-9][a-z0-9_-]{0,39}"
DURATION = r"[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h)"
MOUNT = rf"({VOLUME}|[./~][^:]*):/[^:]*(:(ro|rw))?"
PORT = r"((([0-9]{1,3}\.){3}[0-9]{1,3}:)?([0-9]{0,5}|[0-9]{1,5}-[0-9]{1,5}):)?[0-9]{1,5}(/(tcp|udp))?"
RESTART = "no|always|on-failure(:[0-9]{1,4})?"
SIGNAL = "(SIG)?[A-Z][A-Z0-9]{1,8}|[0-9]{1,2}"

_RESERVED = ("workspace", "localhost", "ip6-localhost", "ip6-loopback", "image", "run")
"""Names that mean something else inside, in plans, or in commands."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DAY = 86400.0
_SHORTEST = 0.01
_SIGNALS = ("HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "USR2", "ALRM", "TERM", "WINCH", "PWR")
_NEVER = {"never": "no", "false": "no", "none": "no", "off": "no", "unless-stopped": "always", "true": "always"}


def service_name(text: str) -> str:
    """A service's name: a host name too, and unlike any replica's."""
    if len(text) > 40 or not re.fullmatch(SERVICE, text):
        fit = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
        near = f"did you mean {fit!r}? " if len(fit) <= 40 and re.fullmatch(SERVICE, fit) else ""
        hint = f"{near}use a-z, 0-9 and - between, a letter first, 40 at most"
        raise Wrong(f"{show(text)} is not the name of a service", hint)
    if replica := re.fullmatch("(.+)-([0-9]+)", text):
        raise Wrong(f"{text!r} is what replica {replica[2]} of {replica[1]!r} is called", "let it end with a letter")
    if text in _RESERVED or text.startswith("run-"):
        raise Wrong(f"{text!r} can't be the name of a service: it means something else", "choose another name")
    return text


def volume_name(text: str) -> str:
    """A volume's name: a folder's, too."""
    if not re.fullmatch(VOLUME, text):
        hint = "use letters, digits and . _ -, a letter or digit first, 63 at most"
        raise Wrong(f"{show(text)} is not the name of a volume", hint)
    return text


def secret_name(text: str) -> str:
    """A secret's name: a file's, too."""
    if not re.fullmatch(SECRET, text):
        hint = "use letters, digits and _ . -, no digit first, 63 at most"
        raise Wrong(f"{show(text)} is not the name of a secret", hint)
    return text


def secret(from_env: str = "", from_file: str = "") -> Secret:
    """A secret, its name still to be filled in."""
    if bool(from_env) == bool(from_file):
        what = "two places to take it from" if from_env else "no place to take it from"
        raise Wrong(f"{what}", "write {from_env: VARIABLE}, or {from_file: PATH}")
    return Secret("", from_env, from_file)


def from_env(text: str) -> str:
    """The name of a variable. What isn't one may be the secret itself, so it isn't shown."""
    if not re.fullmatch(values.VARIABLE, text):
        raise Wrong("it is not the name of a variable", "name the variable that holds the secret, don't write it here")
    return text


def home_path(text: str) -> str:
    """A path on the host: absolute, from the project folder, or from `~/`, which stays."""
    if text == "~" or text.startswith("~/"):
        return f"~/{values.host_path(f'.{text[1:]}')}" if text.strip("~/") else "~"
    if text.startswith("~"):
        raise Wrong(f"{show(text)}: only your own home can be written as `~`", "write the absolute path")
    return values.host_path(text)


def mount(text: str) -> Mount:
    """`NAME:TARGET[:ro|rw]` of a volume, or `PATH:TARGET[:ro|rw]`."""
    what, colon, rest = text.partition(":")
    inside, more, mode = rest.partition(":")
    if not what or not inside:
        told = "doesn't say where" if what and (colon or not what.startswith("/")) else "says only where"
        raise Wrong(f"{show(text)} {told} it is seen inside", "write 'NAME:/TARGET', or './PATH:/TARGET'")
    if more and mode not in ("ro", "rw"):
        raise Wrong(f"{show(text)}: {show(mode)} is not one of: ro, rw", "options of mounts can't be given otherwise")
    if what.startswith((".", "/", "~")):
        return Mount(values.target(inside), path=home_path(what), readonly=mode == "ro")
    if not re.fullmatch(VOLUME, what):
        hint = f"did you mean './{what}'? A path begins with . or /" if "/" in what else "write 'NAME:/TARGET'"
        raise Wrong(f"{show(what)} is neither the name of a volume nor a path", hint)
    return Mount(values.target(inside), volume=what, readonly=mode == "ro")


def port(text: str) -> Port:
    """As a project's, or with a range of host ports: `[ADDRESS:]FIRST-LAST:CONTAINER[/tcp|/udp]`."""
    match = re.fullmatch("([0-9.]+:)?([0-9]{1,5})-([0-9]{1,5})(:[0-9]{1,5}(/(tcp|udp))?)", text)
    if match is None:
        if re.search("[0-9]-[0-9]", text):
            hint = "a range is one of host ports, each for a replica: '9000-9002:8000'"
            raise Wrong(f"{show(text)} is not a port", hint)
        return values.port(text)
    first, last = values.port(f"{match[1] or ''}{match[2]}{match[4]}"), values.port(match[3]).container
    if first.host is None or first.host > last:
        raise Wrong(f"{show(text)}: the range ends before it begins", f"write '{match[3]}-{match[2]}{match[4]}'")
    return first._replace(last=last)


def duration(text: str) -> float:
    """Seconds, of a number with a unit."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", text)
    if match is None:
        bare = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text)
        hint = f"write '{text}s'" if bare else "write one number and its unit: '500ms', '10s', '1.5s', '2m' or '1h'"
        raise Wrong(f"{show(text)} {'has no unit' if bare else 'is not a duration'}", hint)
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _DAY:
        raise Wrong(f"{show(text)} is longer than a day", "24h is the longest")
    return seconds


def span(text: str) -> float:
    """A duration that isn't nothing."""
    seconds = duration(text)
    if seconds < _SHORTEST:
        raise Wrong(f"{show(text)} is too short", "10ms is the shortest")
    return seconds


def healthcheck(
    test: str, interval: float = 10.0, timeout: float = 10.0, retries: int = 3, start_period: float = 0.0
) -> Healthcheck:
    """A health check with the manifest's defaults."""
    return Healthcheck(test, interval, timeout, retries, start_period)


def retries(text: str) -> int:
    """Checks in a row."""
    return _number(text, "checks", 1)


def replicas(text: str) -> int:
    """Containers of a service."""
    return _number(text, "replicas", 0)


def _number(text: str, what: str, least: int) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not least <= int(text) <= MOST:
        raise Wrong(f"{show(text)} is not a number of {what}", f"choose between {least} and {MOST}")
    return int(text)


def restart(text: str) -> Restart:
    """`no`, `always`, `on-failure` or `on-failure:N`."""
    if text == "no":
        return Restart("no")
    if text == "always":
        return Restart("always")
    policy, colon, most = text.partition(":")
    if policy != "on-failure" or (colon and not re.fullmatch("[0-9]{1,4}", most)):
        known = ("no", "on-failure:5" if colon else "on-failure", "always")
        near = _NEVER.get(text.lower()) or nearest(text, known)
        raise Wrong(
            f"{show(text)} is not one of: no, on-failure, on-failure:N, always",
            f"did you mean {near!r}?" if near else "write one of them",
        )
    if colon and int(most) == 0:
        raise Wrong(f"{text!r} restarts nothing", "write 'no'")
    return Restart("on-failure", int(most) if colon else None)


def stop_signal(text: str) -> str:
    """A signal by its name, `SIG` in front, or by its number."""
    if re.fullmatch("[0-9]{1,2}", text):
        if not 1 <= int(text) <= 64:
            raise Wrong(f"{text} is not a signal", "signals go from 1 to 64")
        return str(int(text))
    name = text.removeprefix("SIG")
    if name not in _SIGNALS:
        meant = text.upper().removeprefix("SIG")
        known = ", ".join(f"SIG{one}" for one in _SIGNALS)
        hint = f"did you mean 'SIG{meant}'?" if meant in _SIGNALS else f"one of: {known}, or a number"
        raise Wrong(f"{show(text)} is not a signal that ends a container", hint)
    return f"SIG{name}"
