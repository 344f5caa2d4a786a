"""Whose certificates are trusted: the same for every client, loopback included."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import authorities, errors
from keruta_agent.core.coding.model import LLMConfig
from keruta_agent.http.client.http import HttpClient
from keruta_agent.runner.model.client import LLMClient
from keruta_agent.runner.services.task_registry import TaskRegistryClient
from tests.helpers import tls
from tests.helpers.tls import Authority


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in authorities.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def url(authority: Authority) -> Iterator[str]:
    def respond(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, b'{"status": "UP", "data": []}'

    with tls.server(respond, authority.server_context("localhost")) as address:
        yield address


def _is_healthy(url: str, ca_file: Path | None = None) -> bool:
    with KerutaClient(url, ca_file=ca_file, timeout_s=10) as client:
        return client.health().healthy


def test_private_authority_is_not_trusted_by_itself_and_the_error_says_how_it_could_be(
    url: str,
) -> None:
    with pytest.raises(errors.ApiUnreachable) as caught:
        _is_healthy(url)

    assert "is not trusted" in caught.value.message
    assert "trusted are the system's certificate authorities" in caught.value.message
    assert "api.ca_file" in caught.value.advice
    assert "SSL_CERT_FILE" in caught.value.advice


def test_setting_names_the_authority(url: str, authority: Authority) -> None:
    assert _is_healthy(url, authority.file)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_each_variable_counts_for_the_api_a_service_and_the_model(
    name: str, url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(authority.file))

    assert _is_healthy(url)
    with TaskRegistryClient(url) as registry:
        assert registry.health_check()
    model = LLMClient(LLMConfig(model="m", endpoint=f"{url}/v1", api_key="k"), retry_count=0)
    # Whatever it answers: it was asked.
    with pytest.raises(errors.ImplementationError, match="holds no message"):
        model.probe()
    model.close()


def test_directory_of_hashed_certificates_counts(
    url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    _link_by_hash(authority.file, hashed)
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'empty'}:{hashed}")

    assert _is_healthy(url)


def test_bundle_stands_in_place_of_the_other_variables(
    url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path, "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.file))

    with pytest.raises(errors.ApiUnreachable, match=rf"trusted are {other.file} \(REQUESTS_CA"):
        _is_healthy(url)
    assert _is_healthy(url, authority.file)  # and the setting in place of every variable


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_named_before_the_first_request(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    with pytest.raises(errors.SettingsError, match=rf"{file} \(SSL_CERT_FILE\) cannot be used"):
        KerutaClient("https://localhost:1")
    KerutaClient("http://localhost:1").close()  # needs none
    with pytest.raises(errors.ConnectionError, match="SSL_CERT_FILE"):
        _ = LLMClient(LLMConfig(model="m", endpoint="https://localhost:1", api_key="k")).client


def test_name_that_the_certificate_lacks_is_refused_with_what_to_do(
    authority: Authority,
) -> None:
    def respond(*_: object) -> tuple[int, dict[str, str], bytes]:
        raise AssertionError

    with (
        tls.server(respond, authority.server_context("elsewhere.test")) as url,
        pytest.raises(errors.ApiUnreachable) as caught,
    ):
        _is_healthy(url, authority.file)

    assert "certificate holds" in caught.value.advice


def test_server_without_tls_is_called_so() -> None:
    def respond(*_: object) -> tuple[int, dict[str, str], bytes]:
        raise AssertionError

    with tls.server(respond) as url, pytest.raises(errors.ApiError, match="http and not https"):
        _is_healthy(url.replace("http:", "https:"))


def test_proxy_is_not_asked_for_the_loopback_while_the_authority_counts(
    url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

        assert _is_healthy(url)


def test_connection_trusts_nothing_beside_the_setting(url: str, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    client = HttpClient(url, token=None, timeout_s=10, user_agent="test", ca_file=other.file)

    with pytest.raises(errors.ApiUnreachable, match="not trusted"):
        client.fetch("Asking", "/")
    client.close()


def _link_by_hash(certificate: Path, directory: Path) -> None:
    """Store a certificate under the name by which OpenSSL looks for it."""
    import subprocess

    shown = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificate],
        capture_output=True,
        text=True,
        check=True,
    )
    (directory / f"{shown.stdout.strip()}.0").symlink_to(certificate)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://user:s3cret-word@127.0.0.1:{closed}", "(Connection refused)"),
        ("http://127.0.0.1:{refusing}", "(it answers 407)"),
        ("socks5h://127.0.0.1:{closed}", "SOCKS"),
        ("http://", "(its address is not a valid URL)"),
    ],
)
def test_proxy_that_cannot_be_used_is_named_and_nothing_may_have_been_sent(
    monkeypatch: pytest.MonkeyPatch, proxy: str, why: str
) -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as refusing:
        closed.bind(("127.0.0.1", 0))  # and nobody listens

        def refuse() -> None:
            with contextlib.suppress(OSError), refusing.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        ports = {"closed": closed.getsockname()[1], "refusing": refusing.getsockname()[1]}
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(**ports))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = HttpClient("https://api.invalid", token=None, user_agent="x", timeout_s=10)
        try:
            with pytest.raises(errors.ApiUnreachable) as caught:
                client.write("Saying", "PUT", "/x", {}, key="k")
        finally:
            client.close()
            refusing.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert "the proxy before https://api.invalid cannot be used" in caught.value.message
    assert why in caught.value.message
    assert "s3cret" not in f"{caught.value.message}{caught.value.advice}"
    assert "NO_PROXY" in caught.value.advice
