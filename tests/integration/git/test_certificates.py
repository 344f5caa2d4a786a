"""Git trusts whom the other parts trust, unless it has settings of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.core import authorities, errors
from keruta_agent.git.command import Git
from keruta_agent.git.url import parse
from tests.helpers import tls
from tests.helpers.tls import Authority


@pytest.fixture(autouse=True)
def _nothing_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*authorities.VARIABLES, "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def url(authority: Authority) -> Iterator[str]:
    """A server with an empty repository, as far as a question for its branches goes."""

    def respond(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "text/plain"}, b""

    with tls.server(respond, authority.server_context("localhost")) as address:
        yield f"{address}/empty.git"


def _ask(url: str, directory: Path) -> str:
    """Return the branches of an empty repository: none, once its server is trusted."""
    git = Git(directory, timeout_s=30, url=parse(url))
    return git.run("ls-remote", url, action="ask the server").output.decode()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_git_trusts_the_authority_of_a_variable(
    name: str, url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.WorkspaceError, match="certificate"):
        _ask(url, tmp_path)

    monkeypatch.setenv(name, str(authority.file))

    assert _ask(url, tmp_path) == ""


def test_git_trusts_no_other_authority_than_that_of_the_variable(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path, "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.file))

    with pytest.raises(errors.WorkspaceError, match="certificate"):
        _ask(url, tmp_path)


def test_setting_of_git_goes_before_the_variables(
    url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path, "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.file))
    (tmp_path / "gitconfig").write_text(
        f'[http "{url}"]\n\tsslCAInfo = {authority.file}\n', encoding="utf-8"
    )

    assert _ask(url, tmp_path) == ""
