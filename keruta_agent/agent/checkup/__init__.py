"""Checks whether an installation can keep what the agent promises: behind ``keruta doctor``."""
