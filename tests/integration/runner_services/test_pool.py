"""Slots are lent to one holder at a time, clean, and come back whatever happens to the holder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.runner import RepoPoolClient, SlotAllocation
from keruta_agent.server.runner_services.serve import POOL
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Around]:
    with runner_services(tmp_path / "services", pool_size=2) as started:
        yield started


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Around]:
    with runner_services(tmp_path / "services", pool_size=1) as started:
        yield started


def _wait_until_available(around: Around, slot_id: str) -> None:
    wait_until(
        lambda: around.pool.get_slot_status(slot_id)["state"] == "available", "the slot is free"
    )


def _waiting(around: Around) -> int:
    status = requests.get(f"{around.urls[POOL]}/pools/status", timeout=10).json()
    return int(status["pools"][0]["waiting"])


def _files(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} - {".git"}


def _post(around: Around, path: str, body: Any = None, key: str = "") -> requests.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return requests.post(f"{around.urls[POOL]}{path}", json=body, headers=headers, timeout=30)


def test_slot_is_a_clean_clone_on_the_default_branch(pool: Around, repository: Repository) -> None:
    slot = pool.pool.allocate_slot(str(repository.path), required_by="runner-1")

    assert _files(slot.slot_path) == {"app.py", ".gitignore"}
    assert git(slot.slot_path, "rev-parse", "HEAD") == repository.branches["main"]
    assert git(slot.slot_path, "branch", "--show-current") == "main"
    assert git(slot.slot_path, "remote", "get-url", "origin") == str(repository.path)
    status = pool.pool.get_slot_status(slot.slot_id)
    assert (status["state"], status["required_by"]) == ("allocated", "runner-1")
    assert slot.lease_token is not None
    assert slot.lease_token not in str(status)


def test_slot_that_comes_back_is_cleaned_of_everything(
    single: Around, repository: Repository, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    slot = single.pool.allocate_slot(str(repository.path), required_by="a")
    place = slot.slot_path
    git(place, "checkout", "--quiet", "-b", "feature/x")
    (place / "app.py").write_text("broken", encoding="utf-8")
    git(place, "commit", "--quiet", "--all", "--message", "broken")
    (place / "secret.log").write_text("ignored by git", encoding="utf-8")
    (place / "app.py").write_text("hidden", encoding="utf-8")
    git(place, "update-index", "--skip-worktree", "app.py")
    git(place, "tag", "mine")
    (place / ".git" / "index.lock").touch()
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {canary}\n", encoding="utf-8")
    program.chmod(0o755)
    (place / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (place / ".git" / "hooks" / hook).symlink_to(program)
    with (place / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[core]\n\tfsmonitor = {program}\n[remote "origin"]\n\turl = ext::x\n')
    single.pool.release_slot(slot.slot_id)
    repository.commit("main", {"new.py": "new = True\n"})

    again = single.pool.allocate_slot(str(repository.path), required_by="b")

    assert again.slot_id == slot.slot_id
    assert _files(place) == {"app.py", ".gitignore", "new.py"}
    assert (place / "app.py").read_text(encoding="utf-8") == "answer = 41\n"
    assert git(place, "rev-parse", "HEAD") == repository.branches["main"]
    assert git(place, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags") == (
        "refs/heads/main"
    )
    assert not canary.exists()
    assert "fsmonitor" not in (place / ".git" / "config").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", [".git", ".git/objects", ".git/refs"])
def test_slot_whose_git_directory_leads_elsewhere_is_made_anew(
    single: Around, repository: Repository, tmp_path: Path, part: str
) -> None:
    slot = single.pool.allocate_slot(str(repository.path), required_by="a")
    elsewhere = tmp_path / "elsewhere"
    (slot.slot_path / part).rename(elsewhere)
    (slot.slot_path / part).symlink_to(elsewhere)
    before = sorted(path.relative_to(elsewhere) for path in elsewhere.rglob("*"))
    single.pool.release_slot(slot.slot_id)

    again = single.pool.allocate_slot(str(repository.path), required_by="b")

    assert not (again.slot_path / part).is_symlink()
    assert git(again.slot_path, "status", "--porcelain") == ""
    assert sorted(path.relative_to(elsewhere) for path in elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    "place",
    [".gitattributes", ".git/keruta/clone.json", ".git/packed-refs", ".git/refs/heads/x"],
)
def test_pipe_that_somebody_left_holds_nobody_up(
    single: Around, repository: Repository, place: str
) -> None:
    slot = single.pool.allocate_slot(str(repository.path), required_by="a")
    pipe = slot.slot_path / place
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    single.pool.release_slot(slot.slot_id)

    again = single.pool.allocate_slot(str(repository.path), required_by="b")

    assert _files(again.slot_path) == {"app.py", ".gitignore"}
    assert not pipe.is_fifo()


def test_full_pool_refuses_at_once_and_says_what_to_do(
    pool: Around, repository: Repository
) -> None:
    held = [pool.pool.allocate_slot(str(repository.path), required_by="a") for _ in range(2)]

    with pytest.raises(errors.SlotAllocationError, match="No available slots"):
        pool.pool.allocate_slot(str(repository.path), required_by="b")

    assert len({slot.slot_path for slot in held}) == 2
    status = requests.get(f"{pool.urls[POOL]}/pools/status", timeout=10).json()
    assert (status["pool_size"], len(status["pools"])) == (2, 1)
    described = status["pools"][0]
    assert (described["available"], described["allocated"], described["waiting"]) == (0, 2, 0)


def test_those_who_wait_are_served_in_their_order(pool: Around, repository: Repository) -> None:
    address = str(repository.path)
    held = [pool.pool.allocate_slot(address, required_by="a") for _ in range(2)]
    served: list[int] = []

    def wait_for_one(number: int) -> None:
        slot = pool.pool.allocate_slot(address, required_by=str(number), timeout_seconds=60)
        served.append(number)
        pool.pool.release_slot(slot.slot_id)

    with ThreadPoolExecutor(3) as threads:
        for number in range(3):
            threads.submit(wait_for_one, number)
            wait_until(lambda expected=number + 1: _waiting(pool) == expected, "it waits")
        pool.pool.release_slot(held[0].slot_id)
        wait_until(lambda: len(served) == 3, "all were served")

    assert served == [0, 1, 2]


def test_repeated_allocation_with_its_key_finds_the_same_slot(
    pool: Around, repository: Repository
) -> None:
    body = {"repo_url": str(repository.path), "required_by": "a"}
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(lambda _: _post(pool, "/slots/allocate", body, "key-1"), range(4))
        )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["lease_token"] for answer in answers}) == 1
    assert pool.pool.allocate_slot(body["repo_url"], required_by="b")


def test_release_is_idempotent_and_only_by_the_holder(
    single: Around, repository: Repository
) -> None:
    address = str(repository.path)
    old = single.pool.allocate_slot(address, required_by="a")
    single.pool.release_slot(old.slot_id, lease_token=old.lease_token)
    single.pool.release_slot(old.slot_id, lease_token=old.lease_token)
    new = single.pool.allocate_slot(address, required_by="b")
    assert new.slot_id == old.slot_id

    single.pool.release_slot(old.slot_id, lease_token=old.lease_token)
    assert single.pool.get_slot_status(new.slot_id)["required_by"] == "b"
    with pytest.raises(errors.ServiceError, match="LEASE_ENDED"):
        single.pool.release_slot(new.slot_id, lease_token="somebody else's")
    with pytest.raises(errors.ServiceError, match="LEASE_ENDED"):
        single.pool.heartbeat(new.slot_id, lease_token=old.lease_token)

    assert single.pool.get_slot_status(new.slot_id)["state"] == "allocated"


def test_plain_release_of_the_guide_frees_the_slot(pool: Around, repository: Repository) -> None:
    slot = pool.pool.allocate_slot(str(repository.path), required_by="a")

    assert (
        requests.post(f"{pool.urls[POOL]}/slots/{slot.slot_id}/release", timeout=10).status_code
        == 200
    )

    _wait_until_available(pool, slot.slot_id)
    assert _post(pool, "/slots/nothing/release").status_code == 404


def test_slot_of_a_silent_holder_comes_back_in_a_new_directory(
    single: Around, repository: Repository
) -> None:
    slot = single.pool.allocate_slot(str(repository.path), required_by="a", lease_seconds=1)
    inside = os.open(slot.slot_path, os.O_RDONLY | os.O_DIRECTORY)
    _wait_until_available(single, slot.slot_id)

    again = single.pool.allocate_slot(str(repository.path), required_by="b")

    assert again.slot_path == slot.slot_path
    # The old holder's processes do not work in what somebody else has now.
    assert os.fstat(inside).st_ino != again.slot_path.stat().st_ino
    os.close(inside)
    with pytest.raises(errors.ServiceError, match="LEASE_ENDED"):
        single.pool.heartbeat(slot.slot_id, lease_token=slot.lease_token)


def test_heartbeat_begins_the_lease_anew(pool: Around, repository: Repository) -> None:
    slot = pool.pool.allocate_slot(str(repository.path), required_by="a", lease_seconds=600)

    def left_s() -> float:
        return float(pool.pool.get_slot_status(slot.slot_id)["expires_in_seconds"])

    wait_until(lambda: left_s() < 599.5, "some of the lease is over")
    before = left_s()
    answer = _post(pool, f"/slots/{slot.slot_id}/heartbeat", {"lease_token": slot.lease_token})

    assert answer.json()["expires_in_seconds"] > before
    pool.pool.heartbeat(slot.slot_id)


def test_stopping_pool_sends_away_those_who_wait(tmp_path: Path, repository: Repository) -> None:
    with ThreadPoolExecutor(1) as threads:
        with runner_services(tmp_path / "services", pool_size=1) as around:
            around.pool.allocate_slot(str(repository.path), required_by="a")
            body = {"repo_url": str(repository.path), "required_by": "b", "timeout_seconds": 600}
            waits = threads.submit(_post, around, "/slots/allocate", body)
            wait_until(lambda: _waiting(around) == 1, "it waits")
        answer = waits.result(timeout=30)

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize(
    "address",
    [
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch /tmp/x",
        "https://host/a\nb",
        "-oProxyCommand=x:path",
        "ssh://-oProxyCommand=x/path",
        "fd::7",
        "gopher://host/x",
        "",
        "relative/path",
        "https://host",
    ],
)
def test_hostile_address_is_refused(around: Around, address: str) -> None:
    response = _post(around, "/slots/allocate", {"repo_url": address, "required_by": "a"})

    assert response.status_code == 400
    assert response.json()["error"]["field"] == "repo_url"


def test_repository_that_cannot_be_cloned_is_told_and_takes_no_slot(
    pool: Around, repository: Repository, tmp_path: Path
) -> None:
    missing = tmp_path / "later.git"
    for _ in range(3):
        with pytest.raises(errors.SlotAllocationError, match="REPOSITORY_UNUSABLE"):
            pool.pool.allocate_slot(str(missing), required_by="a")
    repository.path.rename(missing)

    assert _files(pool.pool.allocate_slot(str(missing), required_by="a").slot_path)


def test_empty_repository_is_lent(pool: Around, tmp_path: Path) -> None:
    path = tmp_path / "empty.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=trunk", str(path))

    for _ in range(2):
        slot = pool.pool.allocate_slot(str(path), required_by="a")
        assert _files(slot.slot_path) == set()
        (slot.slot_path / "left").touch()
        pool.pool.release_slot(slot.slot_id)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"required_by": "a"}, "repo_url"),
        ({"repo_url": "/x"}, "required_by"),
        ({"repo_url": "/x", "required_by": "a", "timeout_seconds": -1}, "timeout_seconds"),
        ({"repo_url": "/x", "required_by": "a", "timeout_seconds": "soon"}, "timeout_seconds"),
        ({"repo_url": "/x", "required_by": "a", "lease_seconds": 0}, "lease_seconds"),
    ],
)
def test_bad_input_is_refused_with_the_field_that_is_wrong(
    around: Around, body: Any, field: str
) -> None:
    response = _post(around, "/slots/allocate", body)

    assert response.status_code == 400
    assert response.json()["error"]["field"] == field


def test_eight_runners_share_five_slots_and_none_is_given_twice(
    tmp_path: Path, repository: Repository
) -> None:
    guard = threading.Lock()
    held: set[Path] = set()
    lent: list[Path] = []

    def run(client: RepoPoolClient, number: int) -> None:
        slot: SlotAllocation = client.allocate_slot(
            str(repository.path), required_by=f"runner-{number}", timeout_seconds=100
        )
        with guard:
            assert slot.slot_path not in held
            held.add(slot.slot_path)
            lent.append(slot.slot_path)
        assert _files(slot.slot_path) == {"app.py", ".gitignore"}
        (slot.slot_path / "left.txt").write_text(str(number), encoding="utf-8")
        with guard:
            held.remove(slot.slot_path)
        client.release_slot(slot.slot_id, lease_token=slot.lease_token)

    with (
        runner_services(tmp_path / "services", pool_size=5) as around,
        ThreadPoolExecutor(8) as threads,
    ):
        for done in [threads.submit(run, around.pool, number) for number in range(40)]:
            done.result(timeout=100)

    assert len(lent) == 40
    assert len(set(lent)) <= 5
