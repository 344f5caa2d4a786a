"""The URL of an artifact store, and the keys beside it."""

from __future__ import annotations

import pytest

from keruta_agent.core import errors
from keruta_agent.server.store.artifacts.location import ArtifactLocation

read = ArtifactLocation.read


@pytest.mark.parametrize("url", [None, "", "file:"])
def test_files_are_kept_in_the_data_directory(url: str | None) -> None:
    assert read(url, {}) is None


@pytest.mark.parametrize(
    "url",
    [
        *("s3:", "s3://", "s3:///prefix", "bucket/prefix", "http://host/bucket", "ftp://b"),
        *("s3://bucket/a//b", "s3://bucket/../other", "s3://bucket/./a", "s3://bucket/a#b"),
        *("file:/srv/artifacts", "file:///srv/artifacts", "memory://", "s3://[bucket", "nonsense"),
    ],
)
def test_url_that_names_no_store_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="--artifact-store s3://BUCKET/PREFIX, or file:"):
        read(url, {})


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:hidden@bucket/p",
        "s3://hidden@bucket",
        "s3://bucket/p?aws_secret_access_key=hidden",
    ],
)
def test_url_with_a_key_in_it_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="AWS_SECRET_ACCESS_KEY") as caught:
        read(url, {})
    assert "hidden" not in str(caught.value)


def test_secrets_leave_the_environment_and_are_not_shown() -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_SESSION_TOKEN": "hidden too",
        "AWS_REGION": "r",
    }
    location = read("s3://bucket/prefix/", environment)
    assert location is not None
    assert location.url == "s3://bucket/prefix"
    assert location.secrets == {
        "aws_secret_access_key": "hidden",
        "aws_session_token": "hidden too",
    }
    assert environment == {"AWS_ACCESS_KEY_ID": "id", "AWS_REGION": "r"}
    assert "hidden" not in repr(location)
    assert location.below("runner").url == "s3://bucket/prefix/runner"
    assert location.below("runner").secrets == location.secrets


@pytest.mark.parametrize(
    "endpoint",
    ["nonsense", "http://", "http://[::1", "http://host:99999", "https://a b", "http://hôte"],
)
def test_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(errors.SettingsError, match="AWS_ENDPOINT_URL is no address"):
        read("s3://bucket", {"AWS_ENDPOINT_URL": endpoint})


def test_store_is_asked_in_plain_only_where_its_endpoint_says_so() -> None:
    for endpoint, plain in (("http://127.0.0.1:9000", True), ("https://host", False)):
        location = read("s3://bucket", {"AWS_ENDPOINT_URL": endpoint})
        assert location is not None
        assert location.plain is plain
