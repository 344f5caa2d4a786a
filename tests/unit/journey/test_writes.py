"""What follows from the test of a write to the API."""

from __future__ import annotations

import pytest

from keruta_agent import errors
from keruta_agent.journey.writes import WriteCheck
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


def test_doubt_is_told_once_and_tested_again(
    api: InMemoryKerutaApi, caplog: pytest.LogCaptureFixture
) -> None:
    check = WriteCheck()
    for _ in range(2):
        api.fail_next("check_writes", errors.ApiFailed("broken", status=500))
        check.test(api)
    check.test(api)

    assert check.problem is None
    assert caplog.text.count("cannot tell whether the API takes reports") == 1
    assert api.calls.count("check_writes") == 3
