"""The last release, from the history of this repository, with the libraries of this environment."""

from __future__ import annotations

import re
import subprocess
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_PROGRAM = """\
#!{python}
import sys
from keruta_agent.cli.entry import main
sys.exit(main())
"""


def last_release() -> str:
    """Return the version of the last release, as the changelog names it."""
    found = re.search(
        r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert found is not None
    return found[1]


def install(version: str, directory: Path) -> Path:
    """Install a release into a directory and return its ``keruta``; skip the test where it cannot.

    It takes the libraries of this environment: what is tried is the release, not theirs.
    """
    commit = _commit_of(version)
    if commit is None:
        pytest.skip(f"the history that is here does not hold {version} (a shallow clone?)")
    tree = directory / "tree"
    tree.mkdir(parents=True)
    archive = directory / "tree.tar"
    _git("archive", "--output", str(archive), commit, "keruta_agent")
    with tarfile.open(archive) as tar:
        tar.extractall(tree, filter="data")
    environment = directory / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    packages = sysconfig.get_path("purelib", vars={"base": str(environment)})
    # A directory that a .pth file names is not searched for .pth files of its own: this tree's
    # package, which is installed by one, is not to be found.
    (Path(packages) / "release.pth").write_text(f"{tree}\n{sysconfig.get_path('purelib')}\n")
    program = environment / "bin" / "keruta"
    program.write_text(_PROGRAM.format(python=python))
    program.chmod(0o755)
    told = subprocess.run(
        [program, "version"], capture_output=True, encoding="utf-8", check=False, cwd=directory
    )
    if told.returncode != 0:
        pytest.skip(f"{version} does not start with the libraries of today: {told.stderr[-300:]}")
    assert f"keruta-agent {version}" in told.stdout, told.stdout
    return program


def _commit_of(version: str) -> str | None:
    """Return the commit of a release: the first one that calls itself so."""
    if not (ROOT / ".git").exists():
        return None
    package = "keruta_agent/__init__.py"
    line = f'__version__ = "{version}"'
    listed = _git("log", "--reverse", "--format=%H", f"-S{line}", "--", package).split()
    # The one that brought the line, and not what a shallow history begins with.
    for commit in listed:
        if _VERSION.findall(_git("show", f"{commit}:{package}")) == [version]:
            parents = _git("show", "--no-patch", "--format=%P", commit).split()
            return commit if parents else None
    return None


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
