"""What the log says of refused logins, and that a flood of them does not flood it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


from pog.auth.refusals import MOST_LINES, Fault, Refusals


async def test_it_names_the_user_and_what_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("POG_AUTH_")
    refusals.add(Fault.UNKNOWN, "ilyá".encode(), "192.0.2.1:5")
    refusals.add(Fault.WRONG, b"ilya", "192.0.2.1:5")
    refusals.add(Fault.EXPIRED, b"ilya", "192.0.2.1:5")
    refusals.add(Fault.MALFORMED, None, "-")
    refusals.end()
    assert caplog.messages == [
        "a login of 'ilyá' was refused: unknown user, from 192.0.2.1:5 (POG_AUTH_*)",
        "a login of 'ilya' was refused: wrong password, from 192.0.2.1:5 (POG_AUTH_*)",
        "a login of 'ilya' was refused: expired item, from 192.0.2.1:5 (POG_AUTH_*)",
        "a login was refused: malformed credentials, from - (POG_AUTH_*)",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_a_client_does_not_repeat_what_may_be_a_password(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("CLIENT_AUTH_")
    refusals.add(Fault.UNKNOWN, b"hunter2", "peer")
    refusals.add(Fault.WRONG, b"ilya", "peer")
    refusals.end()
    assert caplog.messages == [
        "a login was refused: unknown user, from peer (CLIENT_AUTH_*)",
        "a login of 'ilya' was refused: wrong password, from peer (CLIENT_AUTH_*)",
    ]


async def test_a_name_forges_no_line_and_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("POG_AUTH_")
    refusals.add(Fault.UNKNOWN, b"a\r\n2026/01/01 INFO: b\x1b[2J\xff" + b"x" * 1000, "peer")
    refusals.end()
    (message,) = caplog.messages
    assert message.isprintable()
    assert len(message) < 200


async def test_a_flood_is_a_few_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("POG_AUTH_")
    for number in range(1000):
        refusals.add(Fault.UNKNOWN if number % 4 else Fault.WRONG, b"x", "peer")
    assert len(caplog.messages) == MOST_LINES
    refusals.end()
    left = 1000 - MOST_LINES
    assert caplog.messages[MOST_LINES:] == [
        f"{left} more logins were refused in 60 s: 743 unknown user, {left - 743} wrong password (POG_AUTH_*)"
    ]
    refusals.add(Fault.WRONG, b"y", "peer")  # the next window
    assert "'y'" in caplog.messages[-1]
    refusals.end()
    assert len(caplog.messages) == MOST_LINES + 2
