"""A Containerfile becomes a graph of steps with keys; context and copy read and write the file trees it moves."""
