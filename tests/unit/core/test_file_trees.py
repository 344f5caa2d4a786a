"""Directory trees that a task made: of any depth, without permissions, with links in them."""

import os
import resource
import stat

import pytest

from keruta_agent.core import file_trees

#: More than Python recurses, and than a path may be long.
DEEP = 5000


def make_deep(top, levels=DEEP):
    """Make directories inside each other, the innermost with a file of 5 bytes."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, b"12345")
    os.close(file)
    os.close(here)


@pytest.fixture
def few_descriptors():
    """Limit this process to a few more open files than it has."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 12, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_descriptors")
def test_a_tree_deeper_than_paths_and_descriptors_reach_is_measured_and_removed(tmp_path):
    make_deep(tmp_path / "tree")
    assert file_trees.disk_usage(tmp_path / "tree") == 5
    file_trees.remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_walk_goes_as_deep_as_paths_reach(tmp_path):
    make_deep(tmp_path / "tree", 1500)
    *_, (folder, inner, names) = file_trees.walk(tmp_path / "tree")
    file_trees.remove(tmp_path / "tree")  # pytest itself could not
    assert folder.count("/d") >= 1500
    assert (inner, names) == ([], ["file"])


def test_walk_is_pruned_like_that_of_os(tmp_path):
    for name in ("kept/inner", "left-out/inner"):
        (tmp_path / name).mkdir(parents=True)
    found = []
    for folder, inner, _ in file_trees.walk(tmp_path):
        found.append(os.path.relpath(folder, tmp_path))
        inner[:] = [name for name in inner if name != "left-out"]
    assert found == [".", "kept", "kept/inner"]


def test_links_are_removed_and_what_they_lead_to_stays(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "loop").symlink_to(tree)
    file_trees.remove(tree)
    (tmp_path / "top").symlink_to(outside)
    file_trees.remove(tmp_path / "top")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").read_text() == "x"


def test_directories_without_permissions_are_removed(tmp_path):
    for name, mode in (("read-only", 0o555), ("closed", 0o000)):
        (tmp_path / "tree" / name / "inner").mkdir(parents=True)
        (tmp_path / "tree" / name / "file").touch()
        (tmp_path / "tree" / name).chmod(mode)
    file_trees.remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_named_and_the_rest_is_gone(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    for name in ("a", "stuck", "z"):
        (tree / name).mkdir(parents=True)
    rmdir = os.rmdir

    def refuse(name, *, dir_fd):
        if name == "stuck":
            raise PermissionError(13, "Permission denied", name)
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(OSError, match="stuck"):
        file_trees.remove(tree)
    assert [path.name for path in tree.iterdir()] == ["stuck"]


def test_what_is_not_there_is_no_error(tmp_path):
    file_trees.remove(tmp_path / "nothing")
    assert file_trees.disk_usage(tmp_path / "nothing") == 0


def test_a_sparse_file_counts_what_it_takes(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert file_trees.disk_usage(tmp_path) < 2**20


def test_a_temporary_directory_goes_with_whatever_was_put_into_it():
    with file_trees.temporary_directory("keruta-test-") as directory:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        make_deep(directory / "tree", 1500)
    assert not directory.exists()
