"""What the Artifact Store's client does with answers that no good store gives."""

from __future__ import annotations

import pytest
import requests_mock

from keruta_agent.core import errors
from keruta_agent.runner import ArtifactStoreClient

URL = "http://store.test"


@pytest.fixture
def store() -> ArtifactStoreClient:
    return ArtifactStoreClient(URL, api_key="k")


@pytest.mark.parametrize("answer", ["{}", "[]", '{"uri": 5}', "", '{"uri": ""}'])
def test_upload_without_a_uri_in_the_answer_is_an_error(
    wire: requests_mock.Mocker, store: ArtifactStoreClient, answer: str
) -> None:
    wire.post(f"{URL}/artifacts", text=answer)

    with pytest.raises(errors.ServiceError, match="Invalid artifact upload response"):
        store.upload("diff", b"x")


def test_uri_of_another_kind_of_store_is_returned_and_not_fetched(
    wire: requests_mock.Mocker, store: ArtifactStoreClient
) -> None:
    wire.post(f"{URL}/artifacts", json={"uri": "s3://bucket/1"})

    uri = store.upload("diff", b"x")

    assert uri == "s3://bucket/1"
    with pytest.raises(errors.SecurityError):
        store.download(uri)


def test_download_follows_no_redirect(
    wire: requests_mock.Mocker, store: ArtifactStoreClient
) -> None:
    wire.get(f"{URL}/artifacts/1", status_code=302, headers={"Location": "http://169.254.169.254/"})

    with pytest.raises(errors.ServiceError, match="Failed to download"):
        store.download(f"{URL}/artifacts/1")

    assert len(wire.request_history) == 1


def test_download_that_is_damaged_is_fetched_again(
    wire: requests_mock.Mocker, store: ArtifactStoreClient
) -> None:
    right = "sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:"  # of b"x"
    wire.get(
        f"{URL}/artifacts/1",
        [
            {"content": b"y", "headers": {"Repr-Digest": right}},
            {"content": b"x", "headers": {"Repr-Digest": right}},
        ],
    )

    assert store.download(f"{URL}/artifacts/1") == b"x"
    assert len(wire.request_history) == 2


def test_store_that_sends_no_hash_is_believed(
    wire: requests_mock.Mocker, store: ArtifactStoreClient
) -> None:
    wire.get(f"{URL}/artifacts/1", content=b"x", headers={"Repr-Digest": "md5=:eA==:, nonsense"})

    assert store.download(f"{URL}/artifacts/1") == b"x"
