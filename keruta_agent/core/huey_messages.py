"""Huey's messages as JSON with a task's name and at most numbers, never pickles.

Whoever may write to a queue could otherwise have its worker execute anything.
"""

from __future__ import annotations

import json
from typing import Any

from huey.exceptions import HueyException
from huey.registry import Message
from huey.serializer import Serializer


class JsonSerializer(Serializer):  # type: ignore[misc]
    """A serializer of messages as ``[message id, task name, arguments]``."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps([data.id, data.name, list(data.args or ())]).encode()

    def _deserialize(self, data: bytes) -> Any:
        try:
            message_id, name, arguments = json.loads(bytes(data))
            if not isinstance(name, str) or not all(isinstance(item, int) for item in arguments):
                raise ValueError("a message carries ids only")
        except (ValueError, TypeError, RecursionError) as exc:
            raise HueyException(f"not a message of keruta: {exc}") from exc
        return Message(message_id, name, None, 0, 0, None, tuple(arguments), {})
