"""Clients of the services around the Agent Runner."""
