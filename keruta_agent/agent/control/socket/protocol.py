"""The protocol of the unix socket: one JSON object a line in, one line out.

A request is a command of ``control/table.py``: ``{"op": "cancel", "job": 12}``. A script's own
commands carry ``run`` and ``token`` as well.

The answer is ``ok``, ``ok {json}``, or ``error EXIT_CODE TEXT``. It is made so that a small
command needs no JSON parser to read it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent.agent.control.commands import UNKNOWN
from keruta_agent.core import errors

#: Bytes of one request; a submitted script may be large.
LONGEST_REQUEST: Final = 16 * 1024 * 1024


def encode_request(request: Mapping[str, Any]) -> bytes:
    """Return a request as a line."""
    return json.dumps(request).encode() + b"\n"


def encode_answer(result: object) -> bytes:
    """Return the answer to a request that was done as a line."""
    answer: object = result
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        answer = dataclasses.asdict(result)
    return b"ok\n" if not answer else b"ok " + json.dumps(answer).encode() + b"\n"


def encode_error(error: errors.KerutaError) -> bytes:
    """Return the answer to a request that was refused as a line."""
    text = " ".join(str(error).split())
    return f"error {error.exit_code} {text}\n".encode()


def decode_answer(line: bytes) -> dict[str, Any]:
    """Return what an answer holds.

    Raises:
        KerutaError: the agent refused; carries the agent's exit code and text.
        AgentOutdated: the agent lacks the command.
        AgentUnreachable: the answer is cut off.
    """
    text = line.decode("utf-8", errors="replace").strip()
    verdict, _, rest = text.partition(" ")
    if verdict == "ok":
        return dict(json.loads(rest)) if rest else {}
    if verdict == "error":
        code, _, message = rest.partition(" ")
        exit_code = int(code) if code.isdigit() else 1
        if exit_code == errors.AgentBusy.exit_code:
            raise errors.AgentBusy(message)
        if message.startswith(UNKNOWN):
            name = message.removeprefix(UNKNOWN).strip(": '")
            raise errors.AgentOutdated(
                f"the daemon that runs is of another version and lacks the command {name}"
            )
        refusal = errors.KerutaError(message)
        refusal.exit_code = exit_code
        raise refusal
    raise errors.AgentUnreachable("the agent's answer was cut off")
