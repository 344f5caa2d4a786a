"""The checks of an installation against the agent's promises: behind ``keruta doctor``."""
