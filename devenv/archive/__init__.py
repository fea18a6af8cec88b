"""Layers as bytes: tar headers, compressed streams, what attributes mean. Leaves: they know nothing of the engine."""
