"""Our own engine: OCI image layout, overlay snapshots, an OCI runtime. Siblings don't import each other; composers put them together."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""A JSON object on its way into a file whose format others define (config.json, image config, index)."""
