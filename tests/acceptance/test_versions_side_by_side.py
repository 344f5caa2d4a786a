"""An agent and a server of which one is the last release, and the other is this version."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import pytest
import requests

from tests.helpers import earlier_version
from tests.helpers.api import Api
from tests.helpers.processes import Workplace, free_port
from tests.helpers.waiting import wait_until

RELEASE: Final = earlier_version.last_release()

#: Does once each what an agent and a server do together; its first run fails.
SCRIPT: Final = """\
keruta progress 40 --message "half of run $KERUTA_RUN_NUMBER" || exit 90
keruta log WARN "a warning of run $KERUTA_RUN_NUMBER" || exit 91
seq -f 'line %.0f' 1 2500
echo "of run $KERUTA_RUN_NUMBER" > "$KERUTA_ARTIFACTS_DIR/left.txt"
head -c 300000 /dev/zero > direct.bin
keruta artifact add direct.bin || exit 92
[ "$KERUTA_RUN_NUMBER" = 1 ] && exit 75
printf 'Your name: '; read -r name; echo "asked $name"
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return earlier_version.install(RELEASE, tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("earlier", ["daemon", "server"])
def test_agent_and_server_of_two_versions_do_all_of_a_task(
    workplace: Workplace, release: Path, earlier: str
) -> None:
    _run_versions(workplace, release, earlier)
    server, url = workplace.server(free_port())
    api = Api(url)
    workplace.environment |= {
        "KERUTA_API_URL": url,
        "KERUTA_SESSION_ID": api.session_id,
        "KERUTA_USE_HTTP_INPUT": "true",
        "KERUTA_DAEMON_PORT": str(free_port()),
    }
    task_id = api.file_task(SCRIPT, parameters={"retry": {"count": 1, "delay": 0}})
    daemon = workplace.daemon()
    assert api.wait_for_question(task_id)["prompt"] == "Your name:"

    # Each may go at any time, and comes back as the same version.
    server.kill()
    server, _ = workplace.server(api.port)
    daemon.kill()
    daemon = workplace.daemon()
    api.answer(task_id, "Alice")

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("COMPLETED", ""), task
    lines = [line for line in api.lines(task_id) if line.startswith("line ")]
    assert lines == [f"line {number}" for number in range(1, 2501)] * 2
    assert api.lines(task_id)[-1] == "Your name: asked Alice"
    warnings = [entry["message"] for entry in api.logs(task_id) if entry["level"] == "WARN"]
    assert {"a warning of run 1", "a warning of run 2"} <= set(warnings)
    _check_artifacts(api, task_id)
    cancelled = api.file_task("sleep 600")
    api.wait_for(cancelled, "PROCESSING")
    api.write_status(cancelled, "CANCELLED")
    wait_until(lambda: not workplace.run_processes(), "the cancelled script has ended")
    api.end_session()
    assert daemon.wait() == 0
    assert api.task(cancelled)["status"] == "CANCELLED"


def _run_versions(workplace: Workplace, release: Path, earlier: str) -> None:
    """Have the release run one side; the commands in scripts are the agent's."""
    workplace.programs[earlier] = str(release)
    if earlier == "daemon":
        workplace.environment["PATH"] = f"{release.parent}{os.pathsep}/usr/local/bin:/usr/bin:/bin"


def _check_artifacts(api: Api, task_id: str) -> None:
    newest = {artifact["path"]: artifact for artifact in api.artifacts(task_id)}
    assert set(newest) == {"left.txt", "direct.bin"}
    contents = {
        path: requests.get(
            f"{api.url}/api/v1/tasks/{task_id}/artifacts/{artifact['id']}/content", timeout=30
        ).content
        for path, artifact in newest.items()
    }
    assert contents == {"left.txt": b"of run 2\n", "direct.bin": bytes(300_000)}
    for path, content in contents.items():
        assert newest[path]["sha256"] == hashlib.sha256(content).hexdigest()


def test_databases_of_the_release_are_taken_over_and_not_given_back(
    workplace: Workplace, release: Path
) -> None:
    """Upgrade with work under way; the release refuses what it could not understand, or goes on."""
    workplace.programs |= {"server": str(release), "daemon": str(release)}
    server, url = workplace.server(free_port())
    api = Api(url)
    workplace.environment |= {"KERUTA_API_URL": url, "KERUTA_SESSION_ID": api.session_id}
    held = workplace.path / "go"
    running = api.file_task(f"echo begun; while [ ! -e {held} ]; do sleep 0.05; done; echo through")
    waiting = api.file_task("echo next")
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(running), "the script has begun")

    daemon.kill()
    server.kill()
    workplace.programs.clear()
    server, _ = workplace.server(api.port)
    daemon = workplace.daemon()
    daemon.wait_for("goes on following run")
    held.touch()
    api.wait_for_all([running, waiting])

    assert [api.task(task)["status"] for task in (running, waiting)] == ["COMPLETED"] * 2
    assert (api.lines(running), api.lines(waiting)) == (["begun", "through"], ["next"])
