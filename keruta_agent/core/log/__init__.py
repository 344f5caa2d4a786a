"""The agent's own log, and what must not appear in it."""
