"""TLS at the HTTP host: handshakes that do not end, and certificates that change."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme
from cryptography.hazmat.primitives import serialization

from keruta_agent.core import errors
from keruta_agent.http.serving.host import Host
from keruta_agent.http.serving.tls import Tls
from tests.helpers.http_host import (
    GET,
    LAST_GET,
    LIMITS,
    MOST_CONNECTIONS,
    PATIENCE_S,
    SOON_S,
    App,
    connect,
    exchange,
    read_all,
)


def _certificate(directory: Path, authority: trustme.CA, *names: str) -> Tls:
    """Write a new certificate where the one before was, if there was one."""
    files = Tls(directory / "cert.pem", directory / "key.pem")
    issued = authority.issue_cert(*names)
    issued.private_key_pem.write_to_path(str(files.key))
    files.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    return files


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return authority


@pytest.fixture
def tls_host(app: App, tmp_path: Path, authority: trustme.CA) -> Iterator[Host]:
    limits = dataclasses.replace(LIMITS, header_timeout_s=PATIENCE_S / 4)
    files = _certificate(tmp_path, authority, "127.0.0.1")
    host = Host(app, host="127.0.0.1", port=0, limits=limits, tls=files)
    host.start()
    yield host
    host.stop()


def _serial_number(host: Host, directory: Path) -> object:
    context = ssl.create_default_context(cafile=str(directory / "authority.pem"))
    with (
        connect(host) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped,
    ):
        wrapped.sendall(LAST_GET)
        assert read_all(wrapped).endswith(b"hello")
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_host_with_a_certificate_speaks_tls(tls_host: Host, tmp_path: Path) -> None:
    assert tls_host.url == f"https://127.0.0.1:{tls_host.port}"
    trusted = str(tmp_path / "authority.pem")
    for path, size, expected in (
        ("/", 0, (200, "hello")),
        ("/", 3_000_000, (200, "3000000")),
        ("/refused", 30_000_000, (401, "no")),
    ):
        answer = requests.post(
            tls_host.url + path, data=bytes(size), timeout=PATIENCE_S, verify=trusted
        )
        assert (answer.status_code, answer.text) == expected


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02", GET])
def test_handshakes_that_do_not_end_keep_nobody_out(
    tls_host: Host, tmp_path: Path, hello: bytes
) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(2 * MOST_CONNECTIONS):
            opened.enter_context(connect(tls_host)).sendall(hello)
        _serial_number(tls_host, tmp_path)


def test_handshake_is_cut_off_in_time(app: App, tmp_path: Path, authority: trustme.CA) -> None:
    limits = dataclasses.replace(LIMITS, header_timeout_s=SOON_S)
    files = _certificate(tmp_path, authority, "127.0.0.1")
    host = Host(app, host="127.0.0.1", port=0, limits=limits, tls=files)
    host.start()
    assert exchange(host, b"\x16\x03\x01\x02") == b""
    host.stop()


def test_stop_ends_handshakes(tls_host: Host) -> None:
    with connect(tls_host) as connection:
        connection.sendall(b"\x16\x03\x01\x02")
        tls_host.stop()
        assert read_all(connection) == b""


def test_new_certificate_is_used_for_new_connections(
    tls_host: Host, tmp_path: Path, authority: trustme.CA
) -> None:
    before = _serial_number(tls_host, tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    with context.wrap_socket(connect(tls_host), server_hostname="127.0.0.1") as open_before:
        _certificate(tmp_path, authority, "127.0.0.1")
        assert _serial_number(tls_host, tmp_path) == before

        tls_host.reload_tls()

        assert _serial_number(tls_host, tmp_path) != before
        open_before.sendall(LAST_GET)
        assert read_all(open_before).endswith(b"hello")


@pytest.mark.parametrize("file", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate", "of another"])
def test_broken_certificate_is_told_and_the_one_before_is_used(
    tls_host: Host,
    tmp_path: Path,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
    file: str,
    content: bytes | str | None,
) -> None:
    before = _serial_number(tls_host, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        other = tmp_path_factory.mktemp("other")
        _certificate(other, authority, "127.0.0.1")
        (tmp_path / file).write_bytes((other / file).read_bytes())

    with pytest.raises(errors.AgentStateError, match="cannot use the certificate"):
        tls_host.reload_tls()

    assert _serial_number(tls_host, tmp_path) == before


def test_key_with_a_password_is_refused_without_a_question(
    app: App, tmp_path: Path, authority: trustme.CA
) -> None:
    files = _certificate(tmp_path, authority, "127.0.0.1")
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(errors.AgentStateError, match="the key has a password"):
        Host(app, host="127.0.0.1", port=0, tls=files)
