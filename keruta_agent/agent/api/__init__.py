"""The keruta API as a client sees it, whichever dialect the server speaks."""

from keruta_agent.agent.api.client import KerutaClient

__all__ = ["KerutaClient"]
