"""Requests to other services: what was refused, lost or redirected, and whom to trust."""
