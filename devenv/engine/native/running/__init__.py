"""Containers are made, run and ended here: each a function of a `ground`."""
