"""Clients of the services that the agent talks to over HTTP."""
