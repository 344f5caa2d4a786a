"""The daemon's unix socket: scripts tell it things, commands ask it for things."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import logging
import os
import secrets
import socket
import socketserver
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from keruta_agent import errors
from keruta_agent.journey import answer
from keruta_agent.journey.agent import Agent
from keruta_agent.local import protocol, run_artifacts
from keruta_agent.local.address import address_of
from keruta_agent.local.connections import REQUEST_TIMEOUT_S, Connections, peer_of
from keruta_agent.local.orders import Orders
from keruta_agent.model import TaskStatus
from keruta_agent.records.jobs import CANCELLED_BY_A_PERSON, Work
from keruta_agent.records.room import failure_to_store
from keruta_agent.records.run import Run
from keruta_agent.runs import messages
from keruta_agent.runs.files import from_json

logger = logging.getLogger(__name__)

#: Seconds between looks whether the server is to stop.
STOP_LOOK_S: Final = 1.0
#: Characters of who cancels a job.
LONGEST_REASON: Final = 300
#: Seconds until the next try to take a connection when there is no descriptor for it.
NO_DESCRIPTOR_S: Final = 0.1
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _WorkSchema(Schema):
    script = fields.String()
    command = fields.List(fields.String())
    directory = fields.String(allow_none=True)
    environment = fields.Dict(keys=fields.String(), values=fields.String())
    parameters = fields.Dict(keys=fields.String())


class _SubmissionSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True)
    priority = fields.Integer(load_default=0, strict=True)
    work = fields.Nested(_WorkSchema, required=True)


class AgentSocket:
    """Serves the unix socket of one agent."""

    def __init__(
        self,
        agent: Agent,
        status: Callable[[], Mapping[str, Any]],
        *,
        takes_jobs: bool = True,
    ) -> None:
        """Binds the socket; without ``takes_jobs`` it refuses new ones with ``AgentBusy``.

        Raises:
            AgentStateError: it cannot be bound.
        """
        operations = Operations(agent, status, takes_jobs=takes_jobs)
        try:
            with address_of(agent.socket_path) as address:
                self._server = _Server(address, operations)
            agent.socket_path.chmod(0o600)
        except OSError as exc:
            raise errors.AgentStateError(
                f"cannot listen on the socket {agent.socket_path}: {exc.strerror}"
            ) from exc
        self._path = agent.socket_path
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_LOOK_S,), name="socket", daemon=True
        )

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to answer and removes the socket."""
        self._server.connections.close()
        stopping = threading.Thread(target=self._server.shutdown)
        stopping.start()
        with (
            contextlib.suppress(OSError),
            address_of(self._path) as address,
            socket.socket(socket.AF_UNIX) as knock,
        ):
            knock.setblocking(False)
            knock.connect(address)  # the server looks only when somebody comes
        stopping.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class Operations:
    """What can be asked of the daemon, by the name of the operation."""

    def __init__(
        self, agent: Agent, status: Callable[[], Mapping[str, Any]], *, takes_jobs: bool
    ) -> None:
        self._agent = agent
        self._status = status
        self._orders = Orders(agent, takes_jobs=takes_jobs)
        self._operations: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "tell": self._tell,
            "artifacts": lambda request: run_artifacts.listed(agent, self._run_of(request)),
            "remove_artifact": lambda request: run_artifacts.removed(
                agent, self._run_of(request), request
            ),
            "submit": self._submit,
            "submit_task": self._submit_task,
            "cancel": self._cancel,
            "input": self._input,
            "stdin": self._stdin,
            "flush": self._flush,
            "look": self._look,
            "status": lambda _: dict(self._status()),
        }

    def answer(self, line: bytes) -> bytes:
        """Does one request and returns the line that answers it."""
        try:
            try:
                request = from_json(line)
                operation = self._operations[request["op"]]
            except (ValueError, TypeError, KeyError) as exc:
                raise errors.UsageError(f"not a request that this agent knows: {exc}") from exc
            return protocol.encode_answer(operation(request))
        except errors.KerutaError as exc:
            return protocol.encode_error(exc)
        except (OSError, sqlite3.Error) as exc:
            if not self._agent.room.is_wanting(exc):
                logger.exception(
                    "a request on the socket failed", extra={"action": "request_failed"}
                )
            return protocol.encode_error(failure_to_store(exc))
        except (ValueError, TypeError, KeyError, LookupError) as exc:
            logger.exception("a request on the socket failed", extra={"action": "request_failed"})
            return protocol.encode_error(errors.AgentStateError(f"the request failed: {exc}"))

    def _run_of(self, request: Mapping[str, Any]) -> Run:
        """Returns the run for which a script speaks."""
        run = self._agent.records.runs.by_uid(str(request.get("run", "")))
        token = str(request.get("token", ""))
        if run is None or not secrets.compare_digest(run.token.encode(), token.encode()):
            raise errors.UsageError("this is not a run that the agent knows")
        if run.ended_at is not None:
            raise errors.UsageError("the run is over")
        return run

    def _tell(self, request: Mapping[str, Any]) -> dict[str, Any]:
        run = self._run_of(request)
        message = request.get("message")
        if isinstance(message, dict) and message.get("kind") == messages.MASK:
            self._agent.directory_of(run).add_secret(str(message.get("value", "")))
            return {}
        line = json.dumps(message, ensure_ascii=False)
        try:
            told = messages.parse(line)
        except ValueError as exc:
            raise errors.UsageError(str(exc)) from exc
        if isinstance(told, messages.ArtifactTold):
            run_artifacts.refuse_if_too_large(self._agent, told)
        if (
            isinstance(told, messages.EndTold)
            and told.status is TaskStatus.COMPLETED
            and run.reported_status is TaskStatus.FAILED
        ):
            raise errors.KerutaError(
                "the script has reported its failure already, which stands", advice=""
            )
        identity = str(message.get("id", "")) if isinstance(message, dict) else ""
        messages.append(self._agent.directory_of(run).agent, line, identity=identity)
        self._agent.wake_event.wake()
        return {}

    def _submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            submission = _SubmissionSchema().load(dict(request))
        except ValidationError as exc:
            raise errors.UsageError(f"this is no job: {exc.messages}") from exc
        work = submission["work"]
        job_id = self._orders.submit(
            submission["name"],
            Work(**{**work, "command": tuple(work.get("command", ()))}),
            priority=submission["priority"],
        )
        return {"job": job_id}

    def _submit_task(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"job": self._orders.submit_task(str(request["task"]))}

    def _flush(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._orders.flush()
        return {}

    def _look(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._orders.look()
        return {}

    def _input(self, request: Mapping[str, Any]) -> dict[str, Any]:
        number = request.get("number")
        question = answer.give(
            self._agent,
            int(request["job"]),
            str(request["text"]),
            "command",
            number=None if number is None else int(number),
        )
        return {"question": question.number}

    def _stdin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        data = base64.b64decode(str(request.get("data", "")))
        ends = request.get("ends") is True
        job_id = int(request["job"])
        taken = answer.feed(self._agent, job_id, data, ends=ends, source="terminal")
        return {"taken": taken}

    def _cancel(self, request: Mapping[str, Any]) -> dict[str, Any]:
        job_id = int(request["job"])
        reason = str(request.get("reason") or CANCELLED_BY_A_PERSON)[:LONGEST_REASON]
        return {"job": job_id, "was": self._orders.cancel(job_id, reason).value}


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        if not _is_ours(self.request):
            return
        with contextlib.suppress(OSError):  # the client has gone: nobody waits for an answer
            line = self.server.connections.receive(self.request)
            if line:
                self.request.settimeout(REQUEST_TIMEOUT_S)
                self.request.sendall(self.server.operations.answer(line))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    #: A script's loop may knock faster than threads start.
    request_queue_size = 128

    def __init__(self, path: str, operations: Operations) -> None:
        self.operations = operations
        self.connections = Connections()
        self._was_without = False
        super().__init__(path, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as exc:
            if exc.errno in _NO_DESCRIPTOR:
                self._wait_for_descriptor(exc)
            raise
        self._was_without = False
        return connection, address

    def _wait_for_descriptor(self, exc: OSError) -> None:
        """Leave the client waiting for a moment: trying again at once would take the processor."""
        if not self._was_without:
            logger.warning(
                "cannot take a connection on the socket now: %s; it waits",
                exc.strerror,
                extra={"action": "socket_failed"},
            )
        self._was_without = True
        time.sleep(NO_DESCRIPTOR_S)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.admit(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.exception("a connection on the socket failed", extra={"action": "socket_failed"})


def _is_ours(connection: socket.socket) -> bool:
    """Return whether the peer runs as our user, or as root."""
    return peer_of(connection).uid in (0, os.geteuid())
