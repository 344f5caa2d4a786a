"""The daemon's HTTP API, for people and their programs."""
