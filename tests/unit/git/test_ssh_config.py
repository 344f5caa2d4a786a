from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from keruta_agent.git.config.ssh import SshConfig, with_file


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_ssh_reads_what_the_user_had_set_up_and_nothing_newer(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    (ssh / "config.d").mkdir(parents=True)
    (ssh / "config").write_text(
        "Include config.d/*\nHost a\n    Include ~/more\nHost b\n  Port 3\n"
    )
    (ssh / "config.d" / "one").write_text("Host a\n    Port 2\n")
    (tmp_path / "more").write_text("User hanako\n")
    config = SshConfig(tmp_path)
    poison = f"ProxyCommand touch {tmp_path}/pwned\n"
    for path in (ssh / "config", ssh / "config.d" / "one", tmp_path / "more", ssh / "config.d/new"):
        path.write_text(poison)

    def settings_for(host: str) -> str:
        command = with_file("ssh", config.path)
        return subprocess.run(
            [*command.split(), "-G", host], capture_output=True, text=True, check=True
        ).stdout

    assert "port 2\n" in settings_for("a")
    assert "user hanako\n" in settings_for("a")
    assert "port 3\n" in settings_for("b")
    assert "proxycommand" not in settings_for("a") + settings_for("b")


def test_files_that_include_each_other_have_an_end(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Include config\nInclude config\n")
    assert Path(SshConfig(tmp_path).path).read_text().endswith("/etc/ssh/ssh_config\n")


@pytest.mark.parametrize(
    "command", ["ssh -F /dev/null", "/opt/plink -i key", "ssh 'unfinished", "wrapper ssh"]
)
def test_command_that_chooses_its_own_settings_is_left_alone(command: str) -> None:
    assert with_file(command, "/x") == command


def test_command_of_the_user_keeps_its_options() -> None:
    assert with_file("ssh -i ~/.ssh/deploy", "/x") == "ssh -i ~/.ssh/deploy -F /x"
