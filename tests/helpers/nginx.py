"""Run nginx with the project's own configuration in front of servers."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.helpers.processes import free_port
from tests.helpers.waiting import wait_until

_CONFIGURATION = Path(__file__).parents[2] / "etc" / "nginx.conf"
_SERVER = re.compile(r"server (10\.0\.0\.\d+:8000) ")
_TIMEOUT_S = 30.0

#: Around the configuration: one process in the foreground, with all files in one directory.
_AROUND = """
daemon off;
master_process off;
error_log stderr;
pid {directory}/pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {configuration}
}}
"""


@contextlib.contextmanager
def nginx(directory: Path, servers: Sequence[int]) -> Iterator[str]:
    """Distribute requests to servers on these ports, for the length of the block; give the URL."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    port = free_port()
    directory.mkdir()
    file = directory / "nginx.conf"
    file.write_text(_AROUND.format(directory=directory, configuration=_filled_in(port, servers)))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            # It ends with this process, however that ends.
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                program,
                "-e",
                "stderr",
                "-p",
                directory,
                "-c",
                file,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _answers(port, process, directory / "log"), "nginx takes connections")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_TIMEOUT_S)
        # Shown by pytest when the test fails.
        print((directory / "log").read_text())


def _filled_in(port: int, servers: Sequence[int]) -> str:
    """Return the configuration with the addresses of these servers, and with this port."""
    text = _CONFIGURATION.read_text(encoding="utf-8")
    addresses = _SERVER.findall(text)
    assert len(addresses) == len(servers)
    for address, server in zip(addresses, servers, strict=True):
        text = text.replace(f"server {address} ", f"server 127.0.0.1:{server} ")
    assert "listen 80;" in text
    return text.replace("listen 80;", f"listen 127.0.0.1:{port};")


def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        socket.create_connection(("127.0.0.1", port), _TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    return True
