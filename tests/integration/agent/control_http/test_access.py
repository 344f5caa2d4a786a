"""Who the daemon's HTTP API lets in, what it takes, and what it says about itself."""

from __future__ import annotations

import pytest

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.http.bodies import LARGE_BODY, SMALL_BODY
from tests.helpers.agent_http import TOKEN, AgentCaller, agent_application, services_of
from tests.helpers.asgi_client import Client

RIGHT = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


def _status(http: AgentCaller, path: str = "/api/v1/status", **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(http.app).get(path, headers=given).status_code


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer トークン".encode().decode("latin-1"),
    ],
)
def test_request_without_the_token_is_refused(refusing: AgentCaller, authorization: str) -> None:
    headers = {"Authorization": authorization}
    response = Client(refusing.app).get("/api/v1/status", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_token_is_asked_for_everywhere_but_at_two_routes_and_the_way_to_the_login(
    refusing: AgentCaller,
) -> None:
    routes = [route.path for route in refusing.app.routes if route.method == "GET"]
    paths = {path.replace("{job}", "1").replace("{task}", "t") for path in routes}
    open_paths = {path for path in paths if _status(refusing, path) != 401}
    pages = {"/", "/login", "/static/{name}"}  # "/" leads to the login
    assert open_paths == {"/api/v1/health/live", "/api/v1/health/ready", *pages}
    assert _status(refusing, "/no/such/route") == 401


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "[::1]",
        "agent.example",
        "agent.example:443",
        "other.example",
    ],
)
def test_names_of_ours_are_served(refusing: AgentCaller, host: str) -> None:
    assert _status(refusing, Host=host, **RIGHT) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "agent.example.evil.example",
        "evil.example#localhost",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "[::2]",
        "[",
        "",
        "@localhost",
    ],
)
def test_other_names_are_refused_even_with_the_token(refusing: AgentCaller, host: str) -> None:
    for path in ("/api/v1/status", "/api/v1/health/live"):
        assert _status(refusing, path, Host=host, **RIGHT) == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost.evil", ""]
)
def test_pages_of_other_origins_are_refused(refusing: AgentCaller, origin: str) -> None:
    response = refusing.call("GET", "/status", headers={"Origin": origin, "Host": "localhost:8080"})
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_own_origin_is_served_and_no_other_is_ever_allowed(http: AgentCaller) -> None:
    own = {"Origin": "http://localhost:8080", "Host": "localhost:8080"}
    response = http.call("GET", "/status", headers=own)
    assert response.status_code == 200
    preflight = http.call("OPTIONS", "/pause", headers=own)
    for answer in (response, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_body_that_is_not_called_json_is_refused(refusing: AgentCaller, content_type: str) -> None:
    response = refusing.call(
        "POST", "/pause", data=b'{"reason": "x"}', headers={"Content-Type": content_type}
    )
    assert response.status_code == 415
    assert response.json()["error"]["field"] == "Content-Type"
    assert refusing.get("/status")["paused"] is None


def test_body_that_is_too_large_is_refused(refusing: AgentCaller) -> None:
    body = b'{"script": "' + b"x" * LARGE_BODY + b'"}'
    response = refusing.call("POST", "/jobs", data=body, headers=JSON)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "BODY_TOO_LARGE"


def test_body_that_carries_no_script_may_be_a_megabyte(refusing: AgentCaller) -> None:
    body = b'{"text": "' + b"x" * SMALL_BODY + b'"}'
    response = refusing.call("POST", "/jobs/1/input", data=body, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b"NaN"])
def test_body_that_is_no_object_is_refused(refusing: AgentCaller, body: bytes) -> None:
    response = refusing.call("POST", "/jobs", data=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_INPUT"


def test_answers_cannot_be_kept_framed_or_guessed_at(http: AgentCaller) -> None:
    for response in (http.call("GET", "/status"), http.call("GET", "/nothing")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_who_cannot_work_is_not_ready_and_says_why_to_who_has_the_token(agent: Agent) -> None:
    services = services_of(agent, {"workers": "a worker has died and is to be started again"})
    with agent_application(agent, services) as app:
        http = AgentCaller(app)
        live = http.call("GET", "/health/live")
        ready = http.call("GET", "/health/ready", headers={"Authorization": ""})
        health = http.call("GET", "/health")
    assert live.json() == {"status": "UP"}
    assert (ready.status_code, ready.json()) == (503, {"status": "DOWN"})
    assert health.status_code == 503
    assert "died" in health.json()["hindrances"]["workers"]


def test_database_that_is_gone_is_no_crash(agent: Agent, http: AgentCaller) -> None:
    assert http.get("/health") == {"status": "UP", "hindrances": {}}
    agent.records.database.connection().execute("DROP TABLE jobs")

    health = http.call("GET", "/health")

    assert health.status_code == 503
    assert set(health.json()["hindrances"]) == {"database"}
    assert http.call("GET", "/jobs").status_code == 503


def test_metrics_are_prometheus_text(http: AgentCaller) -> None:
    response = Client(http.app).get("/metrics", headers=RIGHT)
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert "# TYPE keruta_" in response.text
