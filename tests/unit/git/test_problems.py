"""What git complains about, as it did so in fact, and what it means."""

from __future__ import annotations

import pytest

from keruta_agent.git.problems import Problem, error_from

CASES = {
    "remote: Invalid username or password.\nfatal: Authentication failed for 'http://h/r/'": (
        Problem.AUTHENTICATION
    ),
    "fatal: could not read Username for 'https://h': terminal prompts disabled": (
        Problem.AUTHENTICATION
    ),
    "fatal: unable to access 'https://h/': The requested URL returned error: 403": (
        Problem.AUTHENTICATION
    ),
    "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.": (
        Problem.AUTHENTICATION
    ),
    "No ED25519 host key is known for h and you have requested strict checking.\n"
    "Host key verification failed.\nfatal: Could not read from remote repository.": (
        Problem.HOST_KEY
    ),
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": (
        Problem.HOST_KEY
    ),
    "fatal: repository 'https://h/o/r.git/' not found": Problem.NOT_FOUND,
    "fatal: '/x.git' does not appear to be a git repository": Problem.NOT_FOUND,
    "fatal: unable to access 'http://h/': Failed to connect to h port 1: Connection refused": (
        Problem.UNREACHABLE
    ),
    "fatal: unable to access 'http://h/': Could not resolve host: h": Problem.UNREACHABLE,
    "ssh: connect to host h port 22: Connection refused\nfatal: Could not read": (
        Problem.UNREACHABLE
    ),
    "error: RPC failed; curl 18 transfer closed with outstanding read data remaining\n"
    "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output": Problem.BROKEN_OFF,
    "fatal: the remote end hung up unexpectedly": Problem.BROKEN_OFF,
    "error: RPC failed; curl 28 Operation too slow. Less than 1 bytes/sec transferred": (
        Problem.TIMED_OUT
    ),
    "fatal: Unable to create '/w/.git/index.lock': File exists.\n\n"
    "Another git process seems to be running in this repository": Problem.LOCKED,
    "fatal: detected dubious ownership in repository at '/w'": Problem.OWNERSHIP,
    "fatal: write error: No space left on device": Problem.DISK_FULL,
    "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate": (
        Problem.CERTIFICATE
    ),
    "Author identity unknown\n\n*** Please tell me who you are.": Problem.IDENTITY,
    "fatal: something that nobody has seen": Problem.OTHER,
}


@pytest.mark.parametrize(("complaint", "problem"), CASES.items())
def test_complaint_is_understood(complaint: str, problem: Problem) -> None:
    error = error_from("fetch main", complaint)
    assert error.problem is problem
    assert error.message.startswith("cannot fetch main: ")
    assert "\n" not in str(error)
    assert bool(error.advice) == (problem is not Problem.OTHER)


def test_error_names_the_cause_and_not_the_noise_around_it() -> None:
    error = error_from("clone x", "Cloning into 'x'...\nwarning: y\nfatal: bad object HEAD\n")
    assert str(error) == "cannot clone x: bad object HEAD"
    assert "no reason" in error_from("clone x", "").message


@pytest.mark.parametrize(
    ("warning", "problem"),
    [
        ("warning: failed to remove mod/f: Permission denied", Problem.PERMISSION),
        ("warning: something that git has not said before", Problem.OTHER),
    ],
)
def test_warning_is_the_reason_where_git_gives_no_other(warning: str, problem: Problem) -> None:
    error = error_from("clean the work tree", f"{warning}\n")

    assert (error.problem, warning.removeprefix("warning: ") in error.message) == (problem, True)


def test_refusal_of_a_server_is_no_matter_of_permissions_here() -> None:
    said = "remote: error: insufficient rights: permission denied\nfatal: it hung"
    assert error_from("push", said).problem is not Problem.PERMISSION
