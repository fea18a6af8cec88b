"""A Trial → Markdown for a pull request, one self-contained HTML page, and the words that all forms share."""

from .markdown import markdown
from .page import page

__all__ = ["markdown", "page"]
