"""Two daemons that are started at once: one runs, the other says which."""

from __future__ import annotations

from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until

ROUNDS = 15


def _ended(daemons: list[Process]) -> list[Process]:
    return [daemon for daemon in daemons if not daemon.running]


def test_exactly_one_of_two_daemons_runs_and_the_other_names_it(workplace: Workplace) -> None:
    for number in range(ROUNDS):
        daemons = [workplace.start("daemon"), workplace.start("daemon")]
        [loser] = wait_until(lambda both=daemons: _ended(both), "one of them has ended")
        [winner] = [daemon for daemon in daemons if daemon is not loser]

        assert loser.wait() == 3, loser.err
        said = loser.err.splitlines()[-1]
        assert f"process {winner.pid}." in said or f"process {winner.pid} " in said, said
        assert "Traceback" not in loser.err
        if number % 5 == 0:
            winner.wait_for("is ready")
        # Killed, so that the next two find its pid in the file.
        winner.kill()
    assert not workplace.run("config", "show").returncode
