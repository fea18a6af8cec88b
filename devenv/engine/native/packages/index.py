"""A Python package index → the files of a project and their URLs (PEP 503, 592, 691, 700): for what a lock names without one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from devenv.errors import EngineError
from devenv.model.lock import Dist
from devenv.model.manifest import Pairs

from .. import process
from .fetch import PATIENCE, PAUSES, Wanted
from .web import Failed, Web, shown

_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_MAX_PAGE = 64 << 20
_MAX_FILES = 100_000


class Offer(NamedTuple):
    """A file of a project. `sha256` "" and `size` 0: the index doesn't say. `yanked`: its maker took it back (PEP 592)."""

    file: str
    url: str
    sha256: str = ""
    size: int = 0
    yanked: bool = False
    requires_python: str = ""


def indexes(variables: Pairs, uv: str) -> tuple[str, ...]:
    """The index URLs that uv uses, in its order, with the host's settings (`lent.registry_variables`); `uv` is its path.

    Its own default comes from itself, so that it is its users' and its makers' word alone.
    """
    said = dict(variables)
    default = said.get("UV_DEFAULT_INDEX") or said.get("UV_INDEX_URL")
    if not default:
        argv = (uv, "pip", "compile", "--quiet", "--no-config", "--offline", "--emit-index-url", "-")
        printed = process.run(argv, input=b"").stdout.decode(errors="replace")
        default = next((line.split()[1] for line in printed.splitlines() if line.startswith("--index-url ")), "")
    return tuple(dict.fromkeys(url for url in (*said.get("UV_EXTRA_INDEX_URL", "").split(), default) if url))


class Indexes:
    """The host's indexes; each project's page is asked for once. For any number of threads."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        env: Mapping[str, str],
        bundle: str,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._urls = tuple(urls)
        self._web = Web(env, bundle, lambda _: False)
        self._stopped = stopped
        self._pages: dict[tuple[str, str], tuple[threading.Lock, list[tuple[Offer, ...] | EngineError]]] = {}
        self._lock = threading.Lock()

    def wanted(self, dist: Dist) -> Wanted:
        """How a distribution is fetched: from its own URL, which the lock names, or from an index."""
        what = f"{dist.name} {dist.version}"
        if dist.url:
            return Wanted(what, dist.sha256, dist.size, lambda: (dist.url,), foreign=True)
        return Wanted(what, dist.sha256, dist.size, lambda: self.places(dist))

    def places(self, dist: Dist) -> Iterator[str]:
        """The URLs of its file, index by index. Then EngineError with what is to be said of those that have none."""
        reasons, offline = [], 0
        for index in self._urls:
            page = _page(index, dist.name)
            found = self._offers(index, dist.name)
            if isinstance(found, EngineError):
                reasons.append(f"{shown(page)}: {found.message}")
                offline += isinstance(found, Failed) and found.offline
                continue
            urls = [offer.url for offer in found if offer.file == dist.file and offer.sha256 in ("", dist.sha256)]
            yield from urls
            if not urls:
                other = any(offer.file == dist.file for offer in found)
                said = f"its {dist.file} has another sha256" if other else f"it has no {dist.file}"
                reasons.append(f"{shown(page)}: {said}")
        if reasons:
            raise Failed("\n  ".join(reasons), offline=offline == len(reasons))

    def offers(self, name: str) -> tuple[Offer, ...]:
        """All files of a project, of the first index that has any, as uv does. EngineError when none has."""
        reasons = []
        for index in self._urls:
            found = self._offers(index, name)
            if found and not isinstance(found, EngineError):
                return found
            said = found.message if isinstance(found, EngineError) else "it has no files"
            reasons.append(f"\n  {shown(_page(index, name))}: {said}")
        raise EngineError(f"find {name}: no index has it{''.join(reasons)}")

    def _offers(self, index: str, name: str) -> tuple[Offer, ...] | EngineError:
        with self._lock:
            lock, page = self._pages.setdefault((index, name), (threading.Lock(), []))
        with lock:
            if not page:
                page.append(self._asked(index, name))
            return page[0]

    def _asked(self, index: str, name: str) -> tuple[Offer, ...] | EngineError:
        try:
            kind, url, text = self._read(_page(index, name))
            found = _of_json(text) if kind == _JSON else _of_html(text)
        except EngineError as error:
            return error
        return tuple(_placed(offer, url, index) for offer in found if _is_safe(offer, url))

    def _read(self, page: str) -> tuple[str, str, bytes]:
        """(media type, address it came from, content), asked for again where that may help."""
        for pause in (*PAUSES, None):
            try:
                with self._web.get(page, accept=_ACCEPT, stopped=self._stopped) as answer:
                    return answer.kind, answer.url, answer.text(_MAX_PAGE)
            except Failed as error:
                if not error.passing or pause is None or error.after > PATIENCE or self._stopped():
                    raise
                time.sleep(max(pause, error.after))
        raise AssertionError("the last attempt returns or raises")


def _page(index: str, name: str) -> str:
    return f"{index.rstrip('/')}/{name}/"


def _is_safe(offer: Offer, page: str) -> bool:
    """Whether an offer leads to the web, or to this host's files only from an index that is one of them."""
    try:
        scheme = urlsplit(urljoin(page, offer.url)).scheme
    except ValueError:
        return False
    return scheme in ("http", "https") or (scheme == "file" and page.startswith("file:"))


def _placed(offer: Offer, page: str, index: str) -> Offer:
    """With its whole URL; an index's user and password are good for files of the same host."""
    parts = urlsplit(urljoin(page, offer.url))
    own = urlsplit(index)
    user, _, host = own.netloc.rpartition("@")
    netloc = f"{user}@{host}" if user and (parts.scheme, parts.netloc) == (own.scheme, host) else parts.netloc
    return offer._replace(url=urlunsplit((parts.scheme, netloc, parts.path, parts.query, "")))


def _of_json(text: bytes) -> list[Offer]:
    try:
        document = json.loads(text)
        if not str(document["meta"]["api-version"]).startswith("1."):
            raise Failed("its API's version isn't 1")
        return [_offer(entry) for entry in document["files"][:_MAX_FILES]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise Failed("its answer isn't what PEP 691 says") from error


def _offer(entry: Any) -> Offer:
    size = entry.get("size")
    return Offer(
        str(entry["filename"]),
        str(entry["url"]),
        str((entry.get("hashes") or {}).get("sha256", "")).lower(),
        size if isinstance(size, int) and size > 0 else 0,
        entry.get("yanked") not in (None, False),
        str(entry.get("requires-python") or ""),
    )


def _of_html(text: bytes) -> list[Offer]:
    parser = _Anchors()
    parser.feed(text.decode(errors="replace"))
    parser.close()
    return parser.found


class _Anchors(HTMLParser):
    """The links of a page. Their text is the file's name, which the URL's last part says too (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.above = ""
        self.found: list[Offer] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        href = said.get("href") or ""
        if tag == "base" and href:
            self.above = href
        if tag == "a" and href and len(self.found) < _MAX_FILES:
            try:
                parts = urlsplit(urljoin(self.above, href) if self.above else href)
            except ValueError:
                return
            algorithm, _, digest = parts.fragment.partition("=")
            name = unquote(parts.path.rpartition("/")[2])
            url = urlunsplit((*parts[:4], ""))
            sha256 = digest.lower() if algorithm == "sha256" else ""
            yanked, python = "data-yanked" in said, said.get("data-requires-python") or ""
            self.found.append(Offer(name, url, sha256, 0, yanked, python))
