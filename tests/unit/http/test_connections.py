"""Which of a host's connections makes room for the next one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from keruta_agent.http.serving.connections import Connections, Waiting, network


@dataclass(eq=False)
class Connection:
    waiting: Waiting | None
    peer: str = "10.0.0.1"
    heard_at: float = 0.0
    is_aborted: bool = False
    is_new: bool = False

    def check(self, now: float) -> None:
        raise ZeroDivisionError

    def abort(self) -> None:
        self.is_aborted = True


def _make_room(*members: Connection) -> list[bool]:
    connections = Connections(len(members))
    for member in members:
        connections.add(member)
    assert connections.is_full()
    assert connections.make_room() == any(member.is_aborted for member in members)
    return [member.is_aborted for member in members]


def test_half_head_goes_before_idle_connection_and_that_before_half_body() -> None:
    body, idle, head = (Connection(kind) for kind in sorted(Waiting, reverse=True))
    assert _make_room(body, idle, head) == [False, False, True]
    assert _make_room(body, idle) == [False, True]


def test_of_one_kind_the_one_that_was_silent_the_longest_goes() -> None:
    younger, older = (Connection(Waiting.IDLE, heard_at=when) for when in (2.0, 1.0))
    assert _make_room(younger, older) == [False, True]


def test_peer_that_keeps_most_waiting_goes_first() -> None:
    older = Connection(Waiting.IDLE, peer="10.0.0.2", heard_at=-1.0)
    assert _make_room(older, Connection(Waiting.IDLE), Connection(Waiting.IDLE))[0] is False


def test_request_in_flight_stays() -> None:
    assert _make_room(Connection(None)) == [False]


def test_large_host_makes_room_for_several_at_once() -> None:
    assert sum(_make_room(*(Connection(Waiting.IDLE) for _ in range(200)))) == 4


def test_connection_that_cannot_be_checked_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections(2)
    broken = [Connection(None), Connection(None)]
    for each in broken:
        connections.add(each)
    connections.check(0.0)
    assert [each.is_aborted for each in broken] == [True, True]
    assert "could not be checked" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_that_one_client_can_have_are_one_peer(
    one: str, other: str, is_same: bool
) -> None:
    assert (network(one) == network(other)) is is_same
