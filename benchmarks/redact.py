"""How fast the redactor reads ordinary build logs, and logs made to be slow to read.

python -m benchmarks.redact [--secrets 40] [--megabytes 4] [--log FILE]

The made log names tokens and passwords in every third line, which is what costs most: a log of your
own (--log) shows what to expect.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

from keruta_agent.core.redaction.redactor import Redactor
from tests.helpers.build_logs import build_log, random_secret

_HOSTILE = ("a", "eyJ", "eyJ.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "token=", "key:=(")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--secrets", type=int, default=40)
    parser.add_argument("--megabytes", type=int, default=4)
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    chance = random.Random(1)
    secrets = [
        random_secret(chance, chance.choice((8, 12, 20, 32, 40, 64)))
        for _ in range(arguments.secrets)
    ]
    begin = time.perf_counter()
    redactor = Redactor(secrets)
    print(f"made ready in {(time.perf_counter() - begin) * 1000:.0f} ms: {redactor}")
    size = arguments.megabytes * 1_000_000
    log = build_log(1, size)
    ascii_log = log.encode("ascii", "ignore").decode()
    print(f"build log: {_speed(redactor, log):.0f} MB/s")
    print(f"build log, ASCII only: {_speed(redactor, ascii_log):.0f} MB/s")
    if arguments.log:
        own_log = arguments.log.read_text(encoding="utf-8", errors="replace")
        print(f"{arguments.log}: {_speed(redactor, own_log):.0f} MB/s")
    lines = log.splitlines()
    step = max(1, len(lines) // 100)
    for number in range(0, len(lines), step):
        lines[number] += " " + chance.choice(secrets)
    print(f"build log, 100 secrets in it: {_speed(redactor, chr(10).join(lines)):.0f} MB/s")
    for piece in _HOSTILE:
        text = piece * (1_000_000 // len(piece))
        print(f"1 MB of {piece!r}: {_speed(redactor, text):.0f} MB/s")


def _speed(redactor: Redactor, text: str) -> float:
    size = len(text.encode())
    return size / 1_000_000 / min(_timed(lambda: redactor.redact(text)) for _ in range(3))


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
