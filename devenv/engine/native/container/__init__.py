"""One container: its root, its configuration, the runtime that makes it and the monitor that holds it."""
