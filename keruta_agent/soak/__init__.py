"""Proves the agent's promises by killing it, on temporary directories: ``keruta doctor --soak``."""
