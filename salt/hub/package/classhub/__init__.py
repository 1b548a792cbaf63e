"""What of classhub runs inside the hub's Python: spawner, authenticators, configuration."""
