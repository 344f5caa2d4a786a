"""The command line of a container limits what it may do, names its attempt, and holds no secret."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from keruta_agent.server.coding.attempts import Claim
from keruta_agent.server.coding.containers import Containers, ContainerSettings
from tests.helpers.coding import KEY, TOKEN

TASK = "6f2b2a52-8d3e-4d0e-8c52-0f6a1c1d9a10"
CLAIM = Claim(
    number=1,
    task_id=TASK,
    name="Mend half",
    attempt=2,
    context={"task_id": "1.1", "metadata": {"repo_url": f"https://x:{TOKEN}@git.example.org/a"}},
)
#: Stands for docker: says how it was called, and shows what the container would be given.
DOCKER = """\
import json, os, pathlib, sys
if "run" in sys.argv:
    mounts = [a for a in sys.argv if a.startswith("type=bind")]
    given = pathlib.Path(mounts[0].split("source=")[1].split(",")[0])
    file = given / "environment.json"
    seen = {"argv": sys.argv[1:], "environment": dict(os.environ), "mode": file.stat().st_mode,
            "given": json.loads(file.read_text())}
    pathlib.Path(sys.argv[1]).write_text(json.dumps(seen))
elif "ps" in sys.argv:
    print("keruta-6f2b2a52-8d3e-4d0e-8c52-0f6a1c1d9a10-1")
    print("keruta-6f2b2a52-8d3e-4d0e-8c52-0f6a1c1d9a10-2")
    print("somebody-elses")
else:
    with open(sys.argv[1] + ".removed", "a") as file:
        file.write(" ".join(sys.argv[2:]) + "\\n")
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    (tmp_path / "docker.py").write_text(DOCKER)
    return tmp_path / "seen"


def _containers(seen: Path) -> Containers:
    program = (sys.executable, str(seen.with_name("docker.py")), str(seen))
    return Containers(
        ContainerSettings(image="runner:1", program=program),
        {
            "PATH": "/usr/bin:/bin",
            "DOCKER_HOST": "unix:///run/d.sock",
            "HOME": "/home/worker",
            "OPENAI_API_KEY": KEY,
            "KERUTA_SERVER_DATABASE_URL": "postgresql://keruta:secret@db/keruta",
            "HTTPS_PROXY": "http://proxy.example.org",
        },
    )


def test_command_limits_the_container_and_names_its_attempt() -> None:
    settings = ContainerSettings(
        image="runner:1",
        program=("podman", "--runtime", "runc"),
        network="none",
        memory="512m",
        user="1000:1000",
        volumes=("/srv/mirrors:/mirrors:ro",),
        options=("--pids-limit=500",),
    )
    command = settings.command(CLAIM, Path("/t/given"), Path("/t/work"))
    text = " ".join(command)
    assert text.startswith(f"podman --runtime runc run --rm --name keruta-{TASK}-2 ")
    for part in (
        f"--label keruta.task={TASK}",
        "--label keruta.attempt=2",
        "--network none",
        "--memory 512m",
        "--user 1000:1000",
        "--read-only",
        "--cap-drop all",
        "--mount type=bind,source=/t/given,target=/run/keruta,readonly",
        "--volume /srv/mirrors:/mirrors:ro",
        "--pids-limit=500 runner:1 python3 -m keruta_agent.runner",
    ):
        assert part in text


def test_keys_and_task_are_in_a_private_file_and_nowhere_else(seen: Path) -> None:
    execution = _containers(seen).start(CLAIM, lambda: True)
    ending = execution.wait()
    assert ending.outcome == "unavailable"  # this docker runs nothing
    found = json.loads(seen.read_text())
    outside = json.dumps([found["argv"], found["environment"]])
    assert KEY not in outside
    assert TOKEN not in outside
    assert "DOCKER_HOST" in found["environment"]
    assert stat.S_IMODE(found["mode"]) == 0o600
    given = found["given"]
    assert (given["OPENAI_API_KEY"], given["HTTPS_PROXY"]) == (KEY, "http://proxy.example.org")
    assert json.loads(given["TASK_CONTEXT"])["metadata"]["attempt"] == 2
    assert not {"KERUTA_SERVER_DATABASE_URL", "PATH", "DOCKER_HOST"} & given.keys()


def test_containers_of_attempts_that_are_over_are_removed(seen: Path) -> None:
    _containers(seen).tidy(lambda task, attempt: task == TASK and attempt == 1)
    assert seen.with_name("seen.removed").read_text() == f"rm --force keruta-{TASK}-1\n"
