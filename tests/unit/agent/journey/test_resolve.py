"""Which session a workspace serves, by its table of names."""

from __future__ import annotations

import pytest

from keruta_agent.agent.journey.session.resolve import find_session, session_id_in
from keruta_agent.core import errors
from keruta_agent.core.settings.sources import load_settings
from keruta_agent.testing import InMemoryKerutaApi

UUID = "29229ea1-8c41-4ca2-b064-7a7a7672dd1a"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ws-0fcfba18-session0fc-7973", "0fcfba18"),
        ("ws-0fcfba18-ws0fcfba18-7973", "0fcfba18"),
        ("ws-0FCFBA18-a-1", "0FCFBA18"),
        ("ws-zzzzzzzz-a-1", None),
        ("ws-0fcfba18-only", None),
        ("ws-0fcfba1-a-1", None),
        (f"ws-{UUID}", "29229ea1"),
        (f"session-{UUID}-keruta", UUID),
        (f"session-{UUID}", UUID),
        ("session-29229ea1-foo", "29229ea1"),
        ("session-29229ea1", "29229ea1"),
        ("session-short-foo", None),
        ("session-under_score-x", "under_score"),
        (UUID, UUID),
        (f"{UUID}-x", UUID),
        (UUID.upper(), UUID.upper()),
        (UUID.replace("-", ""), None),
        ("29229ea1-keruta", "29229ea1"),
        ("developer-laptop", None),
        ("29229ea1", None),
        ("vm", None),
        ("my-workspace", None),
        ("coder-bob-29229ea1", None),
        ("", None),
    ],
)
def test_session_id_in_a_workspace_name(name, expected):
    assert session_id_in(name) == expected


def resolve(api: InMemoryKerutaApi, **environment: str) -> str:
    settings = load_settings({}, {"HOME": "/nowhere", **environment}).settings
    return find_session(api, settings, environment).id


def _refused(status: int) -> errors.ApiRefused:
    return errors.ApiRefused("refused", status=status)


@pytest.fixture
def api() -> InMemoryKerutaApi:
    api = InMemoryKerutaApi()
    api.add_session(UUID, name="ws-29229ea1-demo-0001", workspace_id="w-1")
    return api


def test_configured_id_wins_over_the_workspace(api):
    api.add_session("other-session", name="other")
    found = resolve(api, KERUTA_SESSION_ID="other-session", CODER_WORKSPACE_NAME=f"session-{UUID}")
    assert found == "other-session"


def test_partial_id_is_completed(api):
    assert resolve(api, KERUTA_SESSION_ID="29229ea1") == UUID


def test_workspace_name_leads_to_the_session_of_that_name(api):
    assert resolve(api, CODER_WORKSPACE_NAME="ws-29229ea1-demo-0001") == UUID


def test_id_in_the_workspace_name_leads_to_the_session(api):
    assert resolve(api, CODER_WORKSPACE_NAME="session-29229ea1-renamed") == UUID


def test_name_is_tried_before_the_workspace_id(api):
    api.add_session("by-workspace", workspace_id="w-2")
    found = resolve(api, CODER_WORKSPACE_NAME="ws-29229ea1-demo-0001", CODER_WORKSPACE_ID="w-2")
    assert found == UUID


def test_workspace_id_is_the_last_resort(api):
    assert resolve(api, CODER_WORKSPACE_NAME="nothing", CODER_WORKSPACE_ID="w-1") == UUID


def test_partial_id_that_fits_two_sessions_is_refused(api):
    api.add_session(UUID[:-1] + "f")
    with pytest.raises(errors.SettingsError, match="fits 2 sessions"):
        resolve(api, KERUTA_SESSION_ID="29229ea1")


@pytest.mark.parametrize(
    "session_id", ["unknown-session", "abc", "29229ea1-8c41-4ca2-b064-000000000000"]
)
def test_unknown_session_is_an_error_that_says_what_to_set(api, session_id):
    with pytest.raises(errors.SettingsError, match="KERUTA_SESSION_ID"):
        resolve(api, KERUTA_SESSION_ID=session_id)


def test_workspace_that_says_nothing_is_an_error_that_says_what_to_set(api):
    with pytest.raises(errors.SettingsError, match="KERUTA_SESSION_ID"):
        resolve(api, CODER_WORKSPACE_NAME="vm")


def test_api_that_is_away_is_not_taken_for_an_unknown_session(api):
    api.fail_next("session", errors.ApiUnreachable("away"))
    with pytest.raises(errors.ApiUnreachable):
        resolve(api, KERUTA_SESSION_ID=UUID)


@pytest.mark.parametrize("error", [errors.ApiUnsupported("no route"), _refused(400), _refused(404)])
def test_missing_name_search_is_followed_by_the_partial_id(api, error):
    api.fail_next("sessions_by_name", error)
    assert resolve(api, CODER_WORKSPACE_NAME="session-29229ea1-renamed") == UUID


@pytest.mark.parametrize("name", ["ws-29229ea1-demo-0001", "session-29229ea1-renamed"])
def test_server_without_searches_is_asked_for_its_list(name):
    api = InMemoryKerutaApi(without=["sessions_by_name", "sessions_by_partial_id"])
    api.add_session("other", name="other")
    api.add_session(UUID, name="ws-29229ea1-demo-0001")
    assert resolve(api, CODER_WORKSPACE_NAME=name) == UUID
    assert resolve(api, KERUTA_SESSION_ID="29229ea1") == UUID


def test_list_names_the_session_of_a_workspace_where_no_route_does():
    api = InMemoryKerutaApi(without=["session_by_workspace"])
    api.add_session(UUID, workspace_id="w-1")
    assert resolve(api, CODER_WORKSPACE_NAME="vm", CODER_WORKSPACE_ID="w-1") == UUID


def test_list_is_not_asked_for_where_the_searches_answer(api):
    with pytest.raises(errors.SettingsError):
        resolve(api, CODER_WORKSPACE_NAME="session-00000000-x")
    assert "all_sessions" not in api.calls


def test_list_with_two_sessions_that_fit_is_refused():
    api = InMemoryKerutaApi(without=["sessions_by_partial_id"])
    for last in "ab":
        api.add_session(UUID[:-1] + last)
    with pytest.raises(errors.SettingsError, match="fits 2 sessions"):
        resolve(api, KERUTA_SESSION_ID="29229ea1")


def test_error_says_what_was_tried(api):
    api.fail_next("sessions_by_name", errors.ApiUnsupported("no route"))
    with pytest.raises(errors.SettingsError) as caught:
        resolve(api, CODER_WORKSPACE_NAME="session-00000000-x")
    assert caught.value.message == (
        "it is not known which session to serve "
        "(tried the name session-00000000-x: the API has no such search; "
        "the partial id 00000000: fits none; the list of all sessions: fits none)"
    )


def test_api_that_answers_no_search_at_all_is_asked_again_later():
    lacking = ["sessions_by_name", "sessions_by_partial_id", "all_sessions"]
    api = InMemoryKerutaApi(without=lacking)
    with pytest.raises(errors.ApiFailed, match="answers no search"):
        resolve(api, CODER_WORKSPACE_NAME="session-29229ea1-renamed")
