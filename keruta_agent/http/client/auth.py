"""The credentials of a request: with a token, with the address's own, or without any."""

from __future__ import annotations

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from keruta_agent.core import errors
from keruta_agent.http.client.base_url import BaseUrl


class BearerAuth(AuthBase):
    """Authentication by the token, or none.

    Set even without a token: requests looks into ``~/.netrc`` only when there is no auth, and what
    it finds there would replace our header.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


#: For hosts that the token is not meant for.
ANONYMOUS = BearerAuth("")


def checked_token(token: str | None) -> str:
    """Return a token that a header can carry.

    Raises:
        SettingsError: it holds characters that no header has; the message does not repeat it.
    """
    token = (token or "").strip()
    # Checked here because http.client would repeat the whole header in its complaint.
    if not token.isascii() or not token.isprintable():
        raise errors.SettingsError(
            "The API token holds characters that cannot stand in an HTTP header",
            advice="Check KERUTA_API_TOKEN",
        )
    return token


def auth_of(base: BaseUrl, token: str) -> AuthBase:
    """Return what signs requests to a service."""
    if not token and base.username:
        return HTTPBasicAuth(base.username, base.password)
    return BearerAuth(token)
