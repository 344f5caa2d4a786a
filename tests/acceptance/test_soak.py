"""The proof in small: kills break no promise, and an agent that breaks one is found out.

Three kills; seven with ``-m long``.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.soak.evidence import leftovers
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until

#: Seconds for a soak on a machine that has much else to do.
TIMEOUT_S = 280.0

TRUTH = "every task ends in one truthful state"
ONCE = "no script is started twice"
BYTES = "no byte is lost or doubled"
GONE = "no process outlives its task"

#: Breaks four promises in every daemon of the soak.
SABOTAGE = """
import pathlib
import sys

#: A shim that goes as soon as the script has ended.
CARELESS = '''
import sys

sys.path.append("HOME")
from keruta_agent.agent.run import shim

reap = shim.Watch.reap
shim.Watch.reap = lambda watch: reap(watch) and watch.status is None
shim.main()
'''

class Saboteur:
    def find_spec(self, name, path=None, target=None):
        if name != "keruta_agent.agent.journey.on_failure" or sys.orig_argv[-1] != "daemon":
            return None
        sys.meta_path.remove(self)
        from keruta_agent.agent.journey import finish, retry
        from keruta_agent.agent.delivery import loglines
        code_of = finish.error_code
        finish.error_code = lambda run, ending: "WRONG" + code_of(run, ending)
        retry.RetryRule.allows = lambda rule, run: run.outcome == "failed" and run.number <= 4
        read = loglines.LogReader.entries
        loglines.LogReader.entries = lambda *arguments: read(*arguments)[1:]
        from keruta_agent.core.process_tree.children import OWN
        from keruta_agent.agent.run import processes
        processes.sweep = lambda *arguments, **options: []
        type(OWN).end_orphans = lambda *arguments, **options: []
        from keruta_agent.agent.run import shim
        careless = pathlib.Path(__file__).with_name("careless_shim.py")
        home = pathlib.Path(shim.__file__).parents[3]
        careless.write_text(CARELESS.replace("HOME", str(home)), encoding="utf-8")
        shim.__file__ = str(careless)
        return None

sys.meta_path.insert(0, Saboteur())
"""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    found = tmp_path / "temporary"
    found.mkdir()
    return found


def _soak(workplace: Workplace, temporary: Path, code: int, *arguments: str, **more: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "keruta_agent", "doctor", "--soak", "--json", *arguments],
        env={**workplace.environment, "TMPDIR": str(temporary), **more},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(TIMEOUT_S + 10)
@pytest.mark.parametrize(("kills", "seed"), [(3, 1), pytest.param(7, 6, marks=pytest.mark.long)])
def test_kills_break_no_promise_and_leave_nothing(
    workplace: Workplace, temporary: Path, kills: int, seed: int
) -> None:
    found = _soak(workplace, temporary, 0, "--kills", str(kills), "--seed", str(seed))

    assert found["kills"] == kills
    assert sum(found["ends"].values()) == found["tasks"] > 2  # fewer on a busy machine
    assert found["runs"] > found["retries"] > 0
    assert found["log_bytes"] > 0
    assert found["second_agents"] > 0
    assert found["violations"] and not any(found["violations"].values())
    assert list(temporary.iterdir()) == []
    assert leftovers.of_directory(temporary) == []


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_agent_that_breaks_promises_is_found_out_and_the_evidence_is_kept(
    workplace: Workplace, temporary: Path, tmp_path: Path
) -> None:
    (tmp_path / "sabotage").mkdir()
    (tmp_path / "sabotage" / "sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")

    found = _soak(
        workplace,
        temporary,
        1,
        *("--kills", "2", "--seed", "1407"),
        PYTHONPATH=str(tmp_path / "sabotage"),
    )

    assert any("WRONG" in text for text in found["violations"][TRUTH])
    assert any("its rule allows" in text for text in found["violations"][ONCE])
    assert any("at the server" in text for text in found["violations"][BYTES])
    assert any("process" in text for text in found["violations"][GONE])
    assert any("began while another" in text for text in found["violations"][GONE])
    evidence = Path(found["evidence"])
    assert evidence.parent == temporary
    assert "WRONG" in (evidence / "violations.txt").read_text(encoding="utf-8")
    assert (evidence / "agent" / "agent.db").is_file()
    assert leftovers.of_directory(temporary) == []
    shutil.rmtree(evidence)


def test_soak_that_is_interrupted_leaves_nothing(workplace: Workplace, temporary: Path) -> None:
    soak = workplace.start(
        *("doctor", "--soak", "--kills", "1000", "--seed", "6"), TMPDIR=str(temporary)
    )
    wait_until(lambda: list(temporary.glob("*/daemon.log")), "a daemon was started")

    soak.signal(signal.SIGINT)

    assert soak.wait() == 130
    assert list(temporary.iterdir()) == []
    assert leftovers.of_directory(temporary) == []
