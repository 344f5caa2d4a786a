"""What follows from the test of a write to the API."""

from __future__ import annotations

import pytest

from keruta_agent.agent.delivery.writes import WriteCheck, may_be_blocked
from keruta_agent.core import errors
from keruta_agent.testing import InMemoryKerutaApi


@pytest.fixture
def api() -> InMemoryKerutaApi:
    return InMemoryKerutaApi()


@pytest.mark.parametrize("error", [errors.ApiBlocked, errors.ApiUnauthorized])
def test_refused_writes_are_a_problem_until_one_arrives(
    error: type[errors.ApiError], api: InMemoryKerutaApi
) -> None:
    check = WriteCheck()
    api.fail_next("check_writes", error("no way"))
    check.test(api)
    assert check.problem is not None

    check.test(api)

    assert check.problem is None


def test_write_that_arrived_once_is_not_tested_again(api: InMemoryKerutaApi) -> None:
    check = WriteCheck()
    for _ in range(3):
        check.test(api)

    assert api.calls.count("check_writes") == 1


def test_doubt_is_logged_once_and_tested_again(
    api: InMemoryKerutaApi, caplog: pytest.LogCaptureFixture
) -> None:
    check = WriteCheck()
    for _ in range(2):
        api.fail_next("check_writes", errors.ApiFailed("broken", status=500))
        check.test(api)
    check.test(api)

    assert check.problem is None
    assert caplog.text.count("it is unknown whether the API takes reports") == 1
    assert api.calls.count("check_writes") == 3


def test_writes_that_were_proved_are_doubted_when_one_fails(api: InMemoryKerutaApi) -> None:
    check = WriteCheck()
    check.test(api)
    api.fail_next("check_writes", errors.ApiBlocked("a proxy"))

    assert check.doubt(api) is not None
    assert not check.is_proved


def test_doubt_does_not_end_a_problem_for_who_ends_it_wakes_jobs(api: InMemoryKerutaApi) -> None:
    check = WriteCheck()
    api.fail_next("check_writes", errors.ApiBlocked("a proxy"))
    check.test(api)

    assert check.doubt(api) is not None
    check.test(api)
    assert check.doubt(api) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ApiRefused("405", status=405), True),
        (errors.ApiNotFound("404", status=404), True),
        (errors.ApiUnauthorized("403", status=403), True),
        (errors.ApiFailed("302", status=302), True),
        (errors.ApiOverloaded("a page"), True),
        (errors.ApiUnsupported("just found", status=405), True),
        (errors.ApiUnsupported("known"), False),
        (errors.ApiOverloaded("503", status=503), False),
        (errors.ApiUnreachable("away"), False),
        (errors.ApiAmbiguous("lost"), False),
    ],
)
def test_failure_may_mean_that_no_write_arrives(error: errors.ApiError, expected: bool) -> None:
    assert may_be_blocked(error) is expected
