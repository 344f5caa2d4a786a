"""Changes that are checked first and written as a whole."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from keruta_agent.core.coding.model import CodeChange
from keruta_agent.runner.changes import edits
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree

BLOCK = "<<<<<<< SEARCH\n{}\n=======\n{}\n>>>>>>> REPLACE\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "設定.py").write_bytes("a = 1\r\n# 値\r\n".encode("cp932"))
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho 1\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "old.txt").write_text("old\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    return tmp_path


def written(root: Path, *changes: CodeChange) -> list[str]:
    tree = Tree(root)
    steps = edits.plan(changes, tree, PermissionValidator(root))
    edits.apply(steps, tree)
    return [str(step.path) for step in steps]


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def test_changes_are_written_with_encoding_line_ends_and_mode_kept(root: Path) -> None:
    names = written(
        root,
        CodeChange("設定.py", "edit", BLOCK.format("a = 1", "a = 2\n# 新しい")),
        CodeChange("run.sh", "modify", "#!/bin/sh\necho 2\n"),
        CodeChange("new/深い/b.py", "create", "b = 1\n"),
        CodeChange("old.txt", "delete"),
    )
    assert names == ["設定.py", "run.sh", "new/深い/b.py", "old.txt"]
    assert (root / "設定.py").read_bytes() == "a = 2\r\n# 新しい\r\n# 値\r\n".encode("cp932")
    assert (root / "run.sh").read_text() == "#!/bin/sh\necho 2\n"
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "new" / "深い" / "b.py").stat().st_mode & 0o777 == 0o644
    assert not (root / "old.txt").exists()
    assert not list(root.rglob(".keruta-*"))


def test_file_may_be_edited_twice_and_what_changes_nothing_is_left_out(root: Path) -> None:
    names = written(
        root,
        CodeChange("run.sh", "edit", BLOCK.format("echo 1", "echo 2")),
        CodeChange("run.sh", "edit", BLOCK.format("echo 2", "echo 3")),
        CodeChange("old.txt", "modify", "old\n"),
    )
    assert names == ["run.sh"]
    assert (root / "run.sh").read_text() == "#!/bin/sh\necho 3\n"


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_moved_file_keeps_its_mode_and_a_new_script_can_be_started(root: Path) -> None:
    (root / "plain.sh").write_text("#!/bin/sh\n: sourced\n")
    written(
        root,
        CodeChange("run.sh", "delete"),
        CodeChange("bin/start", "create", "#!/bin/sh\necho 1\n"),
        CodeChange("plain.sh", "delete"),
        CodeChange("lib/plain.sh", "create", "#!/bin/sh\n: sourced, by others\n"),
        CodeChange("new.sh", "create", "#!/bin/sh\nset -e\n"),
        CodeChange("new.txt", "create", "#\n"),
    )
    modes = [mode_of(root / name) for name in ("bin/start", "lib/plain.sh", "new.sh", "new.txt")]
    assert modes == [0o755, 0o644, 0o755, 0o644]


def test_parts_of_a_path_that_mean_nothing_are_left_out(root: Path) -> None:
    names = written(
        root,
        CodeChange("./run.sh", "edit", BLOCK.format("echo 1", "echo 2")),
        CodeChange("run.sh", "edit", BLOCK.format("echo 2", "echo 3")),
        CodeChange("././sub/./a", "create", "x\n"),
    )
    assert names == ["run.sh", "sub/a"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (CodeChange("old.txt", "create", "x"), "there already"),
        (CodeChange("new.txt", "modify", "x"), "no such file"),
        (CodeChange("new.txt", "delete"), "no such file"),
        (CodeChange("new.txt", "edit", BLOCK.format("a", "b")), "no such file"),
        (CodeChange("old.txt", "edit", BLOCK.format("nothing", "b")), "not in the file"),
        (CodeChange("picture.png", "modify", "x"), "no text"),
        (CodeChange("設定.py", "edit", BLOCK.format("a = 1", "😀")), "has no '😀'"),
        (CodeChange("old.txt", "modify", "\ud800"), "has no"),
        (CodeChange("first.txt", "modify", "x"), "another change"),
        (CodeChange("first.txt/below", "create", "x"), "file and a directory"),
        (CodeChange("big.txt", "create", "x" * (edits.LARGEST_FILE + 1)), "more than a run may"),
    ],
)
def test_one_change_that_does_not_fit_refuses_all(
    root: Path, change: CodeChange, complaint: str
) -> None:
    before = snapshot(root)
    with pytest.raises(edits.EditError, match=complaint):
        written(root, CodeChange("first.txt", "create", "x"), change)
    assert snapshot(root) == before


def test_masked_file_is_edited_and_not_rewritten(root: Path) -> None:
    tree, permissions = Tree(root), PermissionValidator(root)
    rewrite = CodeChange("old.txt", "modify", "***\n")
    with pytest.raises(edits.EditError, match="masked"):
        edits.plan([rewrite], tree, permissions, masked={"old.txt"})
    with pytest.raises(edits.EditError, match="masked"):
        hidden = CodeChange("./old.txt", "modify", "***\n")
        edits.plan([hidden], tree, permissions, masked={"old.txt"})
    edit = CodeChange("old.txt", "edit", BLOCK.format("old", "new"))
    assert edits.plan([edit], tree, permissions, masked={"old.txt"})


def test_failure_in_the_middle_undoes_what_was_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(root)
    tree = Tree(root)
    put = tree.put

    def failing(path: PurePosixPath, staged: str) -> None:
        if path.name == "z.txt":
            raise OSError(28, "No space left on device")
        put(path, staged)

    monkeypatch.setattr(tree, "put", failing)
    changes = [
        CodeChange("run.sh", "modify", "changed\n"),
        CodeChange("old.txt", "delete"),
        CodeChange("deep/er/z.txt", "create", "x"),
    ]
    steps = edits.plan(changes, tree, PermissionValidator(root))
    with pytest.raises(edits.EditError, match="No space left"):
        edits.apply(steps, tree)
    assert snapshot(root) == before


def test_file_that_changes_meanwhile_refuses_all(root: Path) -> None:
    tree = Tree(root)
    changes = [CodeChange("run.sh", "modify", "x\n"), CodeChange("old.txt", "modify", "y\n")]
    steps = edits.plan(changes, tree, PermissionValidator(root))
    (root / "old.txt").write_text("somebody else\n")
    with pytest.raises(edits.EditError, match="something else"):
        edits.apply(steps, tree)
    assert (root / "run.sh").read_text() == "#!/bin/sh\necho 1\n"
    assert (root / "old.txt").read_text() == "somebody else\n"


def test_directory_that_becomes_a_link_after_the_check_leads_nowhere(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (root / "sub").mkdir()
    tree = Tree(root)
    steps = edits.plan([CodeChange("sub/x", "create", "x")], tree, PermissionValidator(root))
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    with pytest.raises(edits.EditError, match="cannot be written"):
        edits.apply(steps, tree)
    assert list(outside.iterdir()) == []
