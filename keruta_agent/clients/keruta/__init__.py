"""The keruta API as a client sees it, whichever dialect the server speaks."""

from keruta_agent.clients.keruta.client import KerutaClient

__all__ = ["KerutaClient"]
