"""The talk on the unix socket: one JSON object a line in, one line out.

Requests::

    {"op": "tell", "run": UID, "token": TOKEN, "message": {...}}   a script speaks for its run
    {"op": "artifacts", "run": UID, "token": TOKEN}                what it asks of its artifacts
    {"op": "remove_artifact", "run": UID, "token": TOKEN, "names": [...]}
    {"op": "submit", "name": ..., "priority": ..., "work": {...}}  queue an ad-hoc script
    {"op": "submit_task", "task": ID}                              queue one task of the API
    {"op": "cancel", "job": 12, "reason": "Cancelled by ..."}      who cancels; may be left out
    {"op": "input", "job": 12, "text": ..., "number": 1}           answer a script's question
    {"op": "stdin", "job": 12, "data": BASE64, "ends": false}      pass on somebody's own input
    {"op": "flush"}                                                send what the outbox holds
    {"op": "look"}                                                 look for what may run now
    {"op": "status"}

The answer is ``ok``, ``ok {json}``, or ``error EXIT_CODE TEXT``. It is made so that a small
command needs no JSON parser to read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent import errors

#: Bytes of one request; a submitted script may be large.
LONGEST_REQUEST: Final = 16 * 1024 * 1024


def encode_request(request: Mapping[str, Any]) -> bytes:
    """Writes a request."""
    return json.dumps(request).encode() + b"\n"


def encode_answer(answer: Mapping[str, Any] | None) -> bytes:
    """Writes the answer to a request that was done."""
    return b"ok\n" if not answer else b"ok " + json.dumps(answer).encode() + b"\n"


def encode_error(error: errors.KerutaError) -> bytes:
    """Writes the answer to a request that was not."""
    text = " ".join(str(error).split())
    return f"error {error.exit_code} {text}\n".encode()


def decode_answer(line: bytes) -> dict[str, Any]:
    """Reads an answer.

    Raises:
        KerutaError: the agent refused; carries the agent's exit code and text.
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
        refusal = errors.KerutaError(message)
        refusal.exit_code = exit_code
        raise refusal
    raise errors.AgentUnreachable("the agent's answer was cut off")
