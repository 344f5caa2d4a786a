"""Public in-memory doubles of the ports, for tests of whatever uses them."""

from keruta_agent.testing.keruta_api import InMemoryKerutaApi
from keruta_agent.testing.state import StoredArtifact

__all__ = ["InMemoryKerutaApi", "StoredArtifact"]
