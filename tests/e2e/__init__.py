"""The real command line on real projects, with apt, uv and npm."""
