"""ADD's URLs -> files, checked. Through the host's proxies and certificates, as urllib has them from the environment."""

from __future__ import annotations

import hashlib
import os

from devenv.errors import EngineError

_CHUNK = 1 << 20
MAX_BYTES = 8 << 30
_TIMEOUT = 60.0


def fetch(url: str, path: str, checksum: str) -> None:
    """Download `url` (http, https) to the file `path`. `checksum`: `sha256:HEX`, or "" for none. Raises EngineError."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    digest = hashlib.sha256()
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, open(path, "wb") as file:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise EngineError(f"fetch {url}: more than {MAX_BYTES} bytes")
                digest.update(chunk)
                file.write(chunk)
            if answer.length:  # http.client doesn't say so itself when it is read in pieces
                raise EngineError(f"fetch {url}: it ended {answer.length} bytes early", hint="run the command again")
    except (OSError, ValueError, HTTPException) as error:
        raise EngineError(f"fetch {url}: {getattr(error, 'reason', error)}") from error
    found = f"sha256:{digest.hexdigest()}"
    if checksum and found != checksum:
        os.unlink(path)
        raise EngineError(
            f"fetch {url}: its checksum is {found}, not {checksum}", hint="the file changed, or somebody changed it"
        )
