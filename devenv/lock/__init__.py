"""Manifest → Lock: what every byte from outside is, read, written, compared, resolved through the engine."""
