"""The database of the tokens, opened for a command beside a server or without one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keruta_agent.core import errors
from keruta_agent.server.store.database import FILE_NAME, Database, open_database


@contextlib.contextmanager
def opened(data_dir: Path, url: str | None, *, creates: bool = False) -> Iterator[Database]:
    """Open a server's database for the length of the block, whether or not the server runs.

    Args:
        data_dir: of the server.
        url: of its database; None for the one in the directory.
        creates: makes what is missing, for a server that has yet to start.

    Raises:
        AgentStateError: it cannot be used, or there is none.
        SettingsError: the URL is invalid.
    """
    if url is None and creates:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise errors.AgentStateError(
                f"cannot make the server's data directory {data_dir}: {exc.strerror}",
                advice="Choose another one with --data",
            ) from exc
    elif url is None and not (data_dir / FILE_NAME).exists():
        raise errors.AgentStateError(
            f"{data_dir} holds no server's database",
            advice="Give --data or --database-url as for keruta server",
        )
    with contextlib.closing(open_database(data_dir, url)) as database:
        yield database
