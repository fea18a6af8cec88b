"""Images are made here: the Workshop, and what a build asks of it."""
