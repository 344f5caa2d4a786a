"""The daemon's unix socket, where scripts and commands reach it."""
