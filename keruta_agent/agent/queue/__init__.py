"""Huey: the dispatcher that carries job ids between the parts of one daemon."""
