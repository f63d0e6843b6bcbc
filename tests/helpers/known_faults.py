"""Faults of Hypercorn's own HTTP/2 that a test on the portable path meets or not, by the moment in which bytes arrive.

A test that may meet one has its marker. It fails as expected when a program under test has printed that very fault
meanwhile; every other failure counts. A test that always meets a fault is skipped instead: pog.engine_only.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback

import pytest

from tests.helpers import process

LATE_DATA = pytest.mark.known_fault(
    "Hypercorn: content that arrives after the answer is a KeyError in protocol/h2.py, which ends the connection"
)
# The fault is printed after the connection is closed, which is what fails the test; seconds.
_PATIENCE = 1.0
_BEGAN: pytest.StashKey[float] = pytest.StashKey()


def judge(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Turns the failure of a test that has met its known fault into an expected one."""
    if call.when == "setup":
        item.stash[_BEGAN] = call.start
    marker = item.get_closest_marker("known_fault")
    if marker is None or not process.PORTABLE or not report.failed or call.excinfo is None:
        return
    if _told(item.stash[_BEGAN]):
        _forget(call.excinfo)
        report.outcome, report.wasxfail = "skipped", marker.args[0]


def _told(since: float) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not any(when >= since for when in process.late_data):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _forget(failure: pytest.ExceptionInfo[BaseException]) -> None:
    """Lets go of what the failure's frames hold: a socket that the collector closes later would fail another test."""
    told, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(failure.tb)
        gc.collect()
    finally:
        sys.unraisablehook = told
