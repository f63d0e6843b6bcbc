"""An exit that is gone from the configuration ends with the last that uses it, and not before."""

from __future__ import annotations

from pog.client.exits.members import Member
from pog.client.exits.reject import RejectExit
from pog.config.exits import BuiltIn


def member() -> Member:
    return Member(BuiltIn("reject"), RejectExit("reject"))


def test_one_that_nobody_uses_ends_at_once() -> None:
    ended: list[str] = []
    member().leave(lambda: ended.append("end"))
    assert ended == ["end"]


def test_one_in_use_ends_with_the_last() -> None:
    ended: list[str] = []
    made = member()
    for _ in range(3):
        made.use()
    made.release()
    assert not made.gone
    made.leave(lambda: ended.append("end"))
    made.release()
    assert (made.gone, ended) == (True, [])
    made.release()
    assert ended == ["end"]
