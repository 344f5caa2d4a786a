"""Submodules: part of a work tree like every other file."""
