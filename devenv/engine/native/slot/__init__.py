"""What a container stands on, computed from one small number: its ids, its address, its namespaces, its place on the bridge."""
