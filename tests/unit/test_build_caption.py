"""An instruction as people see it."""

from __future__ import annotations

import pytest

from devenv.build.caption import caption


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN --mount=type=cache,target=/a --network=none make  all", "RUN make all"),
        ("RUN echo --mount=x y", "RUN echo --mount=x y"),
        ("RUN --mount=type=bind,from=t,target=/t /run/devenv/tools/uv venv /v", "RUN uv venv /v"),
        ("COPY --link --from=python /opt/venv /opt/venv", "COPY --link --from=python /opt/venv /opt/venv"),
        ("RUN " + "x" * 100, "RUN " + "x" * 35 + "…"),
    ],
)
def test_caption_leaves_out_what_only_builders_read(text: str, expected: str) -> None:
    assert caption(text, 40 if len(text) > 90 else 80) == expected
