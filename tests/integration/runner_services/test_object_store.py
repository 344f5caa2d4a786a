"""The runner's Artifact Store on a store of objects."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import time_machine

from keruta_agent.core import errors
from tests.helpers.object_server import Bucket
from tests.helpers.runner_services import runner_services
from tests.helpers.waiting import wait_until


def test_evidence_is_kept_in_the_store_and_removed_when_it_is_too_old(
    tmp_path: Path, bucket: Bucket
) -> None:
    content = bytes(range(256)) * 40_000
    options = {"retention_days": {"log": 7}, "artifacts": bucket.location("runner")}
    with runner_services(tmp_path, **options) as around:
        log, diff = (around.store.upload(kind, content) for kind in ("log", "diff"))
        assert around.store.download(log) == around.store.download(diff) == content
        assert len(bucket.artifacts("runner")) == 2
    with (
        time_machine.travel(time.time() + 8 * 86400, tick=True),
        runner_services(tmp_path, **options),
    ):
        wait_until(lambda: len(bucket.artifacts("runner")) == 1, "the log's object is removed")
    assert bucket.artifacts("runner") == {diff.rpartition("/")[2]}


def test_evidence_larger_than_the_limit_never_reaches_the_store(
    tmp_path: Path, bucket: Bucket
) -> None:
    with runner_services(
        tmp_path, max_artifact_size=1000, artifacts=bucket.location("runner")
    ) as around:
        with pytest.raises(errors.ServiceError, match="ARTIFACT_TOO_LARGE"):
            around.store.upload("log", bytes(1001))
        assert bucket.artifacts("runner") == set()
        assert list((tmp_path / "incoming").iterdir()) == []
