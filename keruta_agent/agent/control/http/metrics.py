"""The agent's figures, for Prometheus."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from keruta_agent.agent.control import metrics
from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services

resource = Resource("metrics", "The agent's figures, for Prometheus")

_DOCUMENTATION: Final = {
    "responses": {
        "200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
}


@resource.route("GET", "/metrics", doc=_DOCUMENTATION)
def get_metrics(services: Services) -> Response:
    """Return the figures in the text format of Prometheus."""
    return Response(metrics.render(services.agent), headers={"Content-Type": metrics.CONTENT_TYPE})
