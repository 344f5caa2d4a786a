"""Access to the daemon: by token only, from no web page and under no foreign name.

A page in a browser on this machine can send requests here. One of another origin names itself in
``Origin``; one that had its own name lead here (DNS rebinding) shows that name in ``Host``. So a
request must ask for a name that is known to be the agent's, whatever else it knows.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from keruta_agent.core.settings.schema import Settings
from keruta_agent.http.access import BearerToken, host_name, is_from_foreign_page
from keruta_agent.http.pages.file_logins import FileLogins
from keruta_agent.http.pages.logins import Logins
from keruta_agent.http.pages.page_setup import PageSetup
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request

#: In the base directory; what signs the cookies of the status page.
COOKIE_KEY_FILE: Final = "http-cookie-key"

#: Routes that answer without a token; they reveal nothing but whether the daemon works.
OPEN_PATHS: Final = frozenset({"/api/v1/health/live", "/api/v1/health/ready"})
_OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound here


class Access:
    """The check of each request."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._token = BearerToken(token)
        self.logins = Logins(FileLogins(settings.base_dir / COOKIE_KEY_FILE, token=token))
        names = (settings.daemon_host, *settings.daemon_allowed_hosts)
        self._names = _OWN_NAMES | {name.strip("[]").lower() for name in names}
        # On all addresses, the client may ask by any of them. An address cannot be rebound.
        self._takes_addresses = bool(self._names & _ANY_ADDRESS)

    def check(self, request: Request) -> None:
        """Admit a request, or refuse it.

        Raises:
            Problem: it asks for a name that is not the agent's (421), comes from a page of another
                site (403), or does not carry the token (401).
        """
        if not self._is_ours(host_name(request.headers.get("Host", ""))):
            raise Problem(
                421,
                "WRONG_HOST",
                "this agent has another name; daemon.allowed_hosts says which names it has",
                field="Host",
            )
        if is_from_foreign_page(request):
            raise Problem(403, "FORBIDDEN", "pages of another site may not ask", field="Origin")
        pages: PageSetup = request.app.pages
        if request.path in OPEN_PATHS or pages.is_open(request):
            return
        if pages.owns(request):
            # Their forms are checked where they are read.
            if not pages.visitor(request).welcome:
                raise Problem(401, "UNAUTHORIZED", "the page asks for the agent's token")
            return
        # The scripts of the status page read the API with its cookie. They never write with it.
        is_reading = request.method in ("GET", "HEAD") and "Authorization" not in request.headers
        if not (is_reading and pages.visitor(request).known):
            self._token.check(request)

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._takes_addresses and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
