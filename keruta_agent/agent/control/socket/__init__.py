"""The daemon's own door: the unix socket that scripts and commands speak to."""
