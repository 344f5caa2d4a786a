"""An HTTP host, with the limits that a test asks for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keruta_agent.http.serving.host import STOP_TIMEOUT_S, Host
from tests.helpers.http_host import (
    LIMITS,
    App,
)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def host_with(app: App) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as opened:

        def start(stop_timeout_s: float = STOP_TIMEOUT_S, **limits: Any) -> Host:
            host = Host(
                app,
                host="127.0.0.1",
                port=0,
                limits=dataclasses.replace(LIMITS, **limits),
                stop_timeout_s=stop_timeout_s,
            )
            opened.callback(host.stop)
            host.start()
            return host

        yield start


@pytest.fixture
def host(host_with: Callable[..., Host]) -> Host:
    return host_with()
