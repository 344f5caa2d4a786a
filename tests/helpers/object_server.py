"""Run a real server of S3 for tests (moto's): one a process of pytest, one fresh bucket a test.

The fixtures are there for every test.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import obstore.store
import pytest
import requests

from keruta_agent.server.store.artifacts.location import ArtifactLocation
from tests.helpers.waiting import wait_until

_TIMEOUT_S = 60.0
SECRET = "a-key-that-nobody-may-read-0123456789"


class ObjectServer:
    """One server of S3 on a port of the loopback; what it holds ends with it."""

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                # It ends with this process, however that ends.
                [
                    *("setpriv", "--pdeathsig", "TERM"),
                    *(sys.executable, "-m", "moto.server", "--port", "0", *options),
                ],
                stdout=output,
                stderr=output,
            )
        self.url = wait_until(self._listening, "the server of S3 listens", _TIMEOUT_S)

    def _listening(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")
        assert self._process.poll() is None, text
        found = re.search(r"Running on (https?://\S+)", text)
        return found[1] if found else ""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(_TIMEOUT_S)

    def let_in(self) -> dict[str, str]:
        """Make a user who may do all, and return the keys, which are checked while it refuses."""
        client = boto3.client(
            "iam",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="anybody",
            aws_secret_access_key="anything",
        )
        name = f"user-{uuid.uuid4().hex}"
        client.create_user(UserName=name)
        allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        client.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
        made = client.create_access_key(UserName=name)["AccessKey"]
        client.close()
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        }

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Have it check keys and signatures for the length of the block."""
        self._ask("POST", "/moto-api/reset-auth", "0")
        try:
            yield
        finally:
            self._ask("POST", "/moto-api/reset-auth", "inf")

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Have it answer nothing for the length of the block."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _ask(self, method: str, path: str, body: str = "") -> str:
        answer = requests.request(method, self.url + path, data=body, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.text


class Bucket:
    """One bucket of it."""

    def __init__(self, server: ObjectServer, name: str) -> None:
        self.server = server
        self.name = name
        server._ask("PUT", f"/{name}")
        #: For processes that use it.
        self.environment = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self._store = obstore.store.S3Store(
            name,
            endpoint=server.url,
            region="us-east-1",
            access_key_id="tests",
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )

    def url(self, prefix: str = "") -> str:
        """Return the address of a store in it."""
        return f"s3://{self.name}/{prefix}".rstrip("/")

    def location(self, prefix: str = "") -> ArtifactLocation:
        """Return the address of a store in it with its keys."""
        found = ArtifactLocation.read(self.url(prefix), dict(self.environment))
        assert found is not None
        return found

    def keys(self, prefix: str = "") -> set[str]:
        """Return the names of its objects."""
        text = self.server._ask("GET", f"/{self.name}?list-type=2&prefix={prefix}")
        return set(re.findall("<Key>(.*?)</Key>", text))

    def artifacts(self, prefix: str = "") -> set[str]:
        """Return the ids of the artifacts in a store."""
        folder = f"{prefix}/artifacts/".lstrip("/")
        return {key.removeprefix(folder) for key in self.keys(folder)}

    def unfinished(self) -> list[str]:
        """Return the uploads in parts that are neither complete nor given up."""
        text = self.server._ask("GET", f"/{self.name}?uploads")
        return re.findall("<UploadId>(.*?)</UploadId>", text)

    def content(self, key: str) -> bytes:
        """Return what an object holds."""
        return bytes(obstore.get(self._store, key).bytes())

    def put(self, key: str, content: bytes = b"x") -> None:
        """Store an object."""
        obstore.put(self._store, key, content)

    def delete(self, key: str) -> None:
        """Delete an object."""
        obstore.delete(self._store, key)


class Relay:
    """A connection to the server of S3 that ends after some bytes, as often as it is made."""

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._limit = limit
        #: Connections that were cut off.
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            back = threading.Thread(target=_copy, args=(server, client, None), daemon=True)
            back.start()
            if not _copy(client, server, self._limit):
                self.cut += 1
            for each in (client, server):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            back.join(_TIMEOUT_S)


def _copy(source: socket.socket, sink: socket.socket, limit: int | None) -> bool:
    """Pass on what comes; return whether it ended by itself."""
    passed = 0
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            passed += len(piece)
            if limit is not None and passed > limit:
                return False
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    return True


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    server = ObjectServer(tmp_path_factory.mktemp("s3") / "log")
    yield server
    server.kill()


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of the test's own; endpoint and region are in the environment."""
    made = Bucket(object_server, f"bucket-{uuid.uuid4().hex}")
    for name, value in made.environment.items():
        if name != "AWS_SECRET_ACCESS_KEY":
            monkeypatch.setenv(name, value)
    return made
