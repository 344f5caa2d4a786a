"""The commands that a script calls for its own run, without click, json or re.

Only their plain forms are understood here; for anything else ``run`` returns None and the whole
program takes over, with the same meaning. When no daemon answers, because it is being restarted,
the message goes into the run directory, where the next daemon finds it.
"""

from __future__ import annotations

import os
import sys
import time
from _json import encode_basestring_ascii as quoted

LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL")
TIMEOUT_S = 10.0
#: Bytes at the end of a run's messages in which one that was just stored must be.
RECENT_BYTES = 256 * 1024
#: What the kernel takes as a socket's address.
LONGEST_SOCKET_PATH = 107

TYPE_CHECKING = False  # typing's own takes time to import
if TYPE_CHECKING:
    import _socket


def run(command: str, arguments: list[str]) -> int | None:
    """Do one small command; return its exit code, or None if it is not a plain one."""
    forms = {
        "progress": _progress,
        "log": _log,
        "start": _start,
        "success": _success,
        "fail": _fail,
    }
    form = forms.get(command)
    message = None if form is None else form(arguments)
    if message is None:
        return None
    return 0 if message == "" else send(message)


def _options(
    arguments: list[str], names: tuple[str, ...]
) -> tuple[list[str], dict[str, str]] | None:
    """Split arguments into positional ones and options with a value; None if one is unknown."""
    positional: list[str] = []
    values: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            positional.append(argument)
            continue
        name, equals, value = argument.partition("=")
        if name not in names:
            return None
        if not equals:
            value = next(rest, "\0")
        if value == "\0":
            return None
        values[name] = value
    return positional, values


def _progress(arguments: list[str]) -> str | None:
    found = _options(arguments, ("--message",))
    if found is None or len(found[0]) != 1 or not _is_percent(found[0][0]):
        return None
    text = quoted(found[1].get("--message", ""))
    return f'{{"kind": "progress", "percent": {int(found[0][0])}, "message": {text}}}'


def _is_percent(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100


def _log(arguments: list[str]) -> str | None:
    if len(arguments) < 2 or arguments[0].upper() not in LEVELS or arguments[1].startswith("-"):
        return None
    fields = _fields(arguments[2:])
    if fields is None:
        return None
    return (
        f'{{"kind": "log", "level": "{arguments[0].upper()}", '
        f'"message": {quoted(arguments[1])}, "fields": {{{fields}}}}}'
    )


def _fields(arguments: list[str]) -> str | None:
    """Return the members of a JSON object for ``--field NAME=VALUE``; None for anything else."""
    values: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        option, given, text = argument.partition("=")
        if option != "--field":
            return None
        name, equals, value = (text if given else next(rest, "")).partition("=")
        if not name or not equals:
            return None
        values[name] = value
    return ", ".join(f"{quoted(name)}: {quoted(value)}" for name, value in values.items())


def _start(arguments: list[str]) -> str | None:
    """Do nothing: the daemon has announced the run."""
    found = _options(arguments, ("--log-level",))
    if found is None or found[0] or found[1].get("--log-level", "INFO").upper() not in LEVELS:
        return None
    return ""


def _success(arguments: list[str]) -> str | None:
    found = _options(arguments, ("--message", "--artifacts-dir"))
    if found is None or found[0]:
        return None
    directory = found[1].get("--artifacts-dir")
    return _end(
        "COMPLETED",
        message=found[1].get("--message", ""),
        artifacts_dir="null" if directory is None else quoted(os.path.abspath(directory)),
    )


def _fail(arguments: list[str]) -> str | None:
    switches = {"--auto-fix": "true", "--no-auto-fix": "false"}
    auto_fix = "null"
    plain = []
    for argument in arguments:
        if argument in switches:
            auto_fix = switches[argument]
        else:
            plain.append(argument)
    found = _options(plain, ("--message", "--error-code"))
    if found is None or found[0]:
        return None
    return _end(
        "FAILED",
        message=found[1].get("--message", ""),
        error_code=found[1].get("--error-code", ""),
        auto_fix=auto_fix,
    )


def _end(
    status: str,
    *,
    message: str,
    error_code: str = "",
    auto_fix: str = "null",
    artifacts_dir: str = "null",
) -> str:
    return (
        f'{{"kind": "end", "status": "{status}", "message": {quoted(message)}, '
        f'"error_code": {quoted(error_code)}, "auto_fix": {auto_fix}, '
        f'"artifacts_dir": {artifacts_dir}}}'
    )


def send(message: str, *, keep: bool = True) -> int | None:
    """Send the agent one message for this run; return the exit code, None if it cannot.

    With ``keep``, a message that nobody takes is left where the next daemon finds it.
    """
    environment = os.environ
    # An agent that is killed may have stored a message and not come to say so.
    mark = f'"id": "{os.getpid()}-{time.monotonic_ns()}"'
    message = f"{{{mark}, {message[1:]}"
    request = (
        f'{{"op": "tell", "run": {quoted(environment.get("KERUTA_RUN_UID", ""))}, '
        f'"token": {quoted(environment["KERUTA_RUN_TOKEN"])}, "message": {message}}}\n'
    )
    try:
        answer = _ask(environment.get("KERUTA_SOCKET", ""), request.encode())
    except OSError:
        return _leave_behind(message, mark) if keep else None
    if answer.startswith("ok"):
        return 0
    verdict, _, rest = answer.partition(" ")
    if verdict != "error":
        return _leave_behind(message, mark) if keep else None
    code, _, text = rest.partition(" ")
    print(f"keruta: {text.strip()}", file=sys.stderr)
    return int(code) if code.isdigit() else 1


def _ask(path: str, request: bytes) -> str:
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        # For the connecting: with Python's own timeout a full queue refuses at once.
        limit = int(TIMEOUT_S).to_bytes(8, sys.byteorder) + bytes(8)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        _connect(connection, path)
        connection.settimeout(TIMEOUT_S)
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = connection.recv(4096)
            if not chunk:
                break
            answer += chunk
        return answer.decode("utf-8", "replace")
    finally:
        connection.close()


def _connect(connection: _socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        connection.connect(path)
        return
    # As local/address.py does it, which is too much to import for every message.
    directory, name = os.path.split(path)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _leave_behind(message: str, mark: str) -> int | None:
    """Put the message where the daemon would have put it, unless it has."""
    path = os.path.join(os.environ.get("KERUTA_RUN_DIR", ""), "agent")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    except OSError:
        return None
    try:
        start = max(0, os.fstat(descriptor).st_size - RECENT_BYTES)
        if mark.encode() not in os.pread(descriptor, RECENT_BYTES, start):
            os.write(descriptor, message.encode() + b"\n")
    finally:
        os.close(descriptor)
    return 0
