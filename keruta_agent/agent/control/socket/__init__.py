"""The daemon's unix socket, that scripts and commands speak to."""
