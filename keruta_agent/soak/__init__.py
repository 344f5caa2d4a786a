"""The proof of the agent's promises by killing it: ``keruta doctor --soak``."""
