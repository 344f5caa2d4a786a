"""Huey: the dispatcher that wakes the worker and the poll of one daemon."""
