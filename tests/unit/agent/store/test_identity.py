"""The agent's id in its base directory, and what distinguishes copies."""

from __future__ import annotations

import shutil
import stat
import uuid
from pathlib import Path

import pytest

from keruta_agent.agent.store.remembered.identity import ID_NAME, identity_of, keep
from keruta_agent.core import errors


def test_id_is_made_once_and_is_for_its_user_alone(tmp_path: Path) -> None:
    first = identity_of(tmp_path)

    assert identity_of(tmp_path) == first
    assert str(uuid.UUID(first.id)) == first.id
    assert stat.S_IMODE((tmp_path / ID_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [ID_NAME]


def test_copied_base_directory_has_the_same_id_and_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    original = identity_of(tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "copy")

    copy = identity_of(tmp_path / "copy")

    assert copy.id == original.id
    assert copy.instance != original.instance


def test_moved_base_directory_is_the_same_agent(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    original = identity_of(tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "moved")

    assert identity_of(tmp_path / "moved") == original


@pytest.mark.parametrize("text", ["", "nonsense", "../../etc", "\0" * 36, "é"])
def test_damaged_id_is_replaced_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / ID_NAME).write_bytes(text.encode())

    found = identity_of(tmp_path)

    assert identity_of(tmp_path) == found
    assert [record.action for record in caplog.records] == ["agent_id_renewed"]  # type: ignore[attr-defined]


def test_id_of_a_killed_write_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / f"{ID_NAME}.new").write_text("half", encoding="ascii")
    assert identity_of(tmp_path) == identity_of(tmp_path)


def test_id_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    (tmp_path / ID_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.AgentStateError, match=ID_NAME):
        identity_of(tmp_path)


def test_id_is_kept_when_it_is_written_again(tmp_path: Path) -> None:
    first = identity_of(tmp_path)
    (tmp_path / ID_NAME).unlink()
    keep(tmp_path, first.id)
    assert identity_of(tmp_path) == first
