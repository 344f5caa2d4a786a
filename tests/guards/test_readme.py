"""Guards that README, help, completion files and the scripts beside them say what is true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from keruta_agent import __version__
from keruta_agent.cli import main
from keruta_agent.core import errors
from tests.helpers.processes import KERUTA
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def help_of(*command: str) -> str:
    """Return the help of a command."""
    result = subprocess.run(
        [KERUTA, *command, "--help"], capture_output=True, encoding="utf-8", check=True
    )
    return result.stdout


def commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """Return every command below a group with its options."""
    found = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found.update(commands(command, (*path, name)))
        options = {
            option for each in command.params for option in (*each.opts, *each.secondary_opts)
        }
        found[(*path, name)] = options | {"--help", "-h"}
    return found


def fenced_under(heading: str) -> list[str]:
    """Return the lines of the fenced block that stands right under a heading."""
    found = re.search(rf"^## {heading}\n\n```sh\n(.*?)^```$", README, re.M | re.S)
    assert found is not None, f"no fenced block right under '## {heading}'"
    return found[1].splitlines()


def examples() -> list[str]:
    """Return the command lines of keruta that README shows."""
    code = re.findall(r"`(keruta [^`]+)`", README)
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```$", README, re.M | re.S):
        code += re.findall(r"^(?:\$ )?((?:\.venv/bin/)?keruta .+)$", block, re.M)
    return code


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_readme_has_one_line_to_copy(heading: str) -> None:
    lines = fenced_under(heading)

    assert len(lines) == 1
    assert lines[0].startswith("sh etc/setup.sh")
    assert (ROOT / "etc" / "setup.sh").is_file()


def test_readme_mentions_every_command() -> None:
    for command in main.COMMANDS:
        assert f"`keruta {command}" in README, f"README does not mention keruta {command}"


@pytest.mark.parametrize("example", examples())
def test_example_in_readme_uses_commands_and_options_that_exist(example: str) -> None:
    words = shlex.split(example, comments=True)[1:]
    known = commands(main.cli)
    names = (tuple(words[:count]) for count in (3, 2))
    name = next((name for name in names if name in known), tuple(words[:1]))

    assert name in known, f"there is no command {' '.join(name)}"
    for word in words[len(name) :]:
        if name == ("execute",) and not word.startswith("-"):
            break  # from here on it is the script's own
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known[name], f"{' '.join(name)} has no {word}"


def test_readme_links_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_tree_in_the_architecture_names_every_part_of_the_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\nkeruta_agent/\n(.*?)```", page, re.S)
    assert tree is not None
    named = set(re.findall(r"^  (\w+)/ ", tree[1], re.M))
    agent = set(re.findall(r"^    (\w+)/ ", tree[1], re.M))

    assert named == _packages("keruta_agent")
    assert agent == _packages("keruta_agent/agent")


def _packages(place: str) -> set[str]:
    return {path.parent.name for path in (ROOT / place).glob("*/__init__.py")}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", *sorted(PAGES)], ids=str)
def test_page_names_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = [(ROOT / page).parent / name for name in re.findall(r"\]\(([^)#:]+)\)", text)]
    tops = "agent|core|http|git|server|runner|soak|testing|cli"
    named = [ROOT / "keruta_agent" / name for name in re.findall(rf"`((?:{tops})/[\w/.]+)`", text)]

    assert [str(path) for path in (*linked, *named) if not path.exists()] == []


def test_exit_codes_of_errors_stand_in_help_and_readme() -> None:
    def below(kind: type[errors.KerutaError]) -> set[int]:
        return {kind.exit_code}.union(*(below(child) for child in kind.__subclasses__()))

    used = below(errors.KerutaError) | {0, main.EXIT_BUG, main.EXIT_INTERRUPTED}
    in_help = {int(code) for code in re.findall(r"^ +(\d+) +\S", help_of(), re.M)}
    line = next(line for line in README.splitlines() if line.startswith("Exit codes: "))
    in_readme = {int(code) for code in re.findall(r"(?:: |; )(\d+) ", line)}

    assert in_help == used
    assert in_readme == used


def test_every_command_has_help_with_a_summary() -> None:
    shown = help_of()

    for command in main.COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].+", shown, re.M), f"{command} has no summary"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_file_is_what_keruta_writes(shell: str) -> None:
    written = subprocess.run(
        [KERUTA],
        env={**os.environ, "_KERUTA_COMPLETE": f"{shell}_source"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    file = ROOT / "etc" / "completion" / f"keruta.{shell}"
    assert file.read_text(encoding="utf-8") == written, (
        f"write it anew: _KERUTA_COMPLETE={shell}_source keruta > {file.relative_to(ROOT)}"
    )


def test_completion_offers_every_command() -> None:
    offered = subprocess.run(
        [KERUTA],
        env={
            **os.environ,
            "_KERUTA_COMPLETE": "bash_complete",
            "COMP_WORDS": "keruta ",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    assert {line.partition(",")[2] for line in offered.splitlines()} == set(main.COMMANDS)


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        (
            "bash",
            "COMP_WORDS=(keruta queue m) COMP_CWORD=2; _keruta_completion keruta; "
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ),
        ("fish", 'complete -C "keruta queue m" | string split -f 1 (printf "\\t")'),
    ],
)
def test_shell_itself_completes_a_command(shell: str, asked: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    path = f"{Path(KERUTA).parent}:{os.environ['PATH']}"
    offered = subprocess.run(
        [shell, "-c", f"source {ROOT}/etc/completion/keruta.{shell}; {asked}"],
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    assert offered == "move\n"


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        ("sh", "etc/setup.sh"),
        ("sh", "etc/coder/startup.sh"),
        ("sh", "etc/coder/keep-awake.sh"),
        ("bash", ".ci/run"),
    ],
)
def test_script_of_the_project_can_be_read_by_its_shell(shell: str, script: str) -> None:
    # The Coder template is Terraform's first: its placeholder stands in single quotes.
    result = subprocess.run([shell, "-n", str(ROOT / script)], capture_output=True, check=False)

    assert result.returncode == 0, result.stderr


def test_setup_refuses_an_unknown_word() -> None:
    result = subprocess.run(
        ["sh", str(ROOT / "etc" / "setup.sh"), "everything"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert result.returncode == 2
    assert "everything" in result.stderr


def run_setup(tmp_path: Path, **tools: str) -> subprocess.CompletedProcess[str]:
    """Run setup.sh in an empty checkout, on a machine that has just these tools."""
    checkout = tmp_path / "checkout"
    (checkout / "etc").mkdir(parents=True)
    setup = checkout / "etc" / "setup.sh"
    setup.write_bytes((ROOT / "etc" / "setup.sh").read_bytes())
    (tmp_path / "tools").mkdir()
    for name in ("sh", "dirname", "cat"):
        (tmp_path / "tools" / name).symlink_to(str(shutil.which(name)))
    for name, text in tools.items():
        tool = tmp_path / "tools" / name
        tool.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        tool.chmod(0o755)
    return subprocess.run(
        [str(shutil.which("sh")), str(setup)],
        env={"PATH": str(tmp_path / "tools")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_setup_without_a_fitting_python_says_so(tmp_path: Path) -> None:
    result = run_setup(tmp_path, python3="exit 1")

    assert result.returncode == 1
    assert "no Python 3.11 or newer" in result.stderr
    assert not (tmp_path / "checkout" / ".venv").exists()


def test_setup_without_venv_says_what_to_install(tmp_path: Path) -> None:
    python = 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.11 ;; esac'

    result = run_setup(tmp_path, python3=python, id="echo 1000")

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "  sudo apt-get install python3.11-venv"
    assert not (tmp_path / "checkout" / ".venv").exists()


def start_workspace(home: Path, python: str) -> list[str]:
    """Run the Coder template's startup script where ``python`` stands for that of the venv."""
    programs = home / ".keruta" / "venv" / "bin"
    programs.mkdir(parents=True)
    (home / "tools").mkdir()
    calls = home / "calls"
    make_venv = f"mkdir -p {programs}; printf '#!/bin/sh\\n' > {programs}/python"
    stubs = {
        programs / "python": python,
        programs / "keruta": "true",
        home / "tools" / "python3": f"{make_venv}; chmod +x {programs}/python",
        home / "tools" / "nohup": "true",
    }
    for stub, text in stubs.items():
        stub.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {calls}\n{text}\n')
        stub.chmod(0o755)
    template = (ROOT / "etc" / "coder" / "startup.sh").read_text(encoding="utf-8")
    script = template.replace("${source}", "keruta-agent").replace("${keep_awake}", "")
    environment = {"HOME": str(home), "PATH": f"{home}/tools:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script], env=environment, check=True)
    wait_until(lambda: "nohup" in calls.read_text(), "the daemon is started")
    return [line.split()[0] for line in calls.read_text().splitlines()]


def test_workspace_starts_its_daemon_also_where_nothing_can_be_fetched(tmp_path: Path) -> None:
    offline = 'case "$*" in *install*) exit 1 ;; esac'
    assert start_workspace(tmp_path, offline) == ["python", "python", "nohup"]


def test_workspace_whose_image_got_another_python_gets_a_new_venv(tmp_path: Path) -> None:
    assert start_workspace(tmp_path, "exit 1") == ["python", "python3", "nohup"]


def test_unit_leaves_a_script_that_runs_out_of_memory_to_the_daemon() -> None:
    unit = (ROOT / "etc" / "keruta-agent.service").read_text(encoding="utf-8")
    assert {"KillMode=process", "OOMPolicy=continue"} <= set(unit.splitlines())


def test_changelog_has_an_unreleased_part_and_the_current_release() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    newest = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d{2}-\d{2})?$", changelog, re.M)[:2]
    assert newest == ["Unreleased", __version__]
    assert [name for name in main.COMMANDS if name not in changelog] == []


def test_ci_runs_readmes_test_command() -> None:
    # The same extraction as in .ci/run, which has no copy of the command.
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    program = re.search(r"awk '(.*?)' README\.md", script, re.S)
    assert program is not None
    found = subprocess.run(
        ["awk", program[1], "README.md"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    assert found.splitlines() == fenced_under("Test it")
    for check in ("ruff check", "ruff format --check", "mypy", "lint-imports"):
        assert f"\nsay .venv/bin/{check}" in script
