"""What the views of the runner's services work with."""

from __future__ import annotations

import dataclasses

from keruta_agent.http.request import Request
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.readiness import Readiness
from keruta_agent.server.routes import Context
from keruta_agent.server.runner_services.retention import Retention
from keruta_agent.server.runner_services.slots import Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services(Context):
    """The parts that the three services share."""

    slots: Slots
    retention: Retention
    #: Who is let in.
    grants: Grants
    readiness: Readiness
    #: Bytes.
    max_artifact_size: int


def services_of(request: Request) -> Services:
    """Return the parts behind the application that a request came to."""
    services: Services = request.app.context
    return services
