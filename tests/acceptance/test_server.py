"""``keruta server`` as a process: TLS, and certificates that change while it serves."""

from __future__ import annotations

import hashlib
import re
import signal
import ssl
from pathlib import Path

import pytest
import requests
import trustme

from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return made


def _renew(directory: Path, authority: trustme.CA) -> str:
    """Write a new certificate and key; return the certificate's fingerprint."""
    issued = authority.issue_cert("127.0.0.1")
    pem = issued.cert_chain_pems[0].bytes()
    (directory / "cert.pem").write_bytes(pem)
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def _serve(workplace: Workplace, directory: Path) -> tuple[Process, int]:
    files = ("--tls-cert", str(directory / "cert.pem"), "--tls-key", str(directory / "key.pem"))
    process = workplace.start("server", "--port", "0", *files)
    process.wait_for("listening on https://127.0.0.1:")
    found = re.search(r"listening on https://127\.0\.0\.1:(\d+)", process.out)
    assert found is not None
    return process, int(found[1])


def _shown(port: int) -> str:
    certificate = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def test_server_speaks_tls_and_reads_a_renewed_certificate_at_sighup(
    workplace: Workplace, tmp_path: Path, authority: trustme.CA
) -> None:
    first = _renew(tmp_path, authority)
    process, port = _serve(workplace, tmp_path)
    health = requests.get(
        f"https://127.0.0.1:{port}/health", verify=str(tmp_path / "authority.pem"), timeout=10
    )
    assert health.json()["status"] == "UP"
    assert _shown(port) == first

    second = _renew(tmp_path, authority)
    process.signal(signal.SIGHUP)
    wait_until(lambda: _shown(port) == second, "the new certificate is shown")

    (tmp_path / "cert.pem").write_text("not a certificate", encoding="utf-8")
    process.signal(signal.SIGHUP)
    process.wait_for("the old one stays in use")
    assert _shown(port) == second
    assert process.stop() == 0


def test_services_of_the_runner_show_the_servers_certificate(
    workplace: Workplace, tmp_path: Path, authority: trustme.CA
) -> None:
    first = _renew(tmp_path, authority)
    process = workplace.start(
        *("server", "--runner-services-only", "--tls-cert", str(tmp_path / "cert.pem")),
        *("--tls-key", str(tmp_path / "key.pem")),
        *("--registry-port", "0", "--pool-port", "0", "--store-port", "0"),
    )
    process.wait_for("Artifact Store on https://127.0.0.1:")
    ports = [int(port) for port in re.findall(r"on https://127\.0\.0\.1:(\d+)$", process.out, re.M)]
    assert [_shown(port) for port in ports] == [first] * 3

    second = _renew(tmp_path, authority)
    process.signal(signal.SIGHUP)
    wait_until(
        lambda: [_shown(port) for port in ports] == [second] * 3, "the new certificate is shown"
    )
    assert process.stop() == 0


@pytest.mark.parametrize("option", ["--tls-cert", "--tls-key"])
def test_half_of_a_certificate_is_refused(
    workplace: Workplace, tmp_path: Path, authority: trustme.CA, option: str
) -> None:
    _renew(tmp_path, authority)
    done = workplace.run("server", "--port", "0", option, str(tmp_path / "cert.pem"))
    assert done.returncode == 2
    assert "Give both --tls-cert and --tls-key" in done.stderr
