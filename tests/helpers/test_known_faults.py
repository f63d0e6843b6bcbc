"""A failure is an expected one only where the test has its marker and a program told of the fault meanwhile."""

from __future__ import annotations

import sys
import time

import pytest

from tests.helpers import known_faults, process


def fails() -> None:
    raise ConnectionResetError("the connection went")


@pytest.fixture(autouse=True)
def portable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PORTABLE", True)
    monkeypatch.setattr(process, "late_data", [])
    monkeypatch.setattr(known_faults, "_PATIENCE", 0.0)


def judged(item: pytest.Item, *, told: float | None) -> pytest.TestReport:
    """The report of a failing test: `told` seconds after its start a program printed the fault, if at all."""
    start = pytest.CallInfo.from_call(lambda: None, "setup")
    known_faults.judge(item, start, pytest.TestReport.from_item_and_call(item, start))
    if told is not None:
        process.late_data.append(start.start + told)
    call = pytest.CallInfo.from_call(fails, "call")
    report = pytest.TestReport.from_item_and_call(item, call)
    known_faults.judge(item, call, report)
    return report


@known_faults.LATE_DATA
def test_a_fault_that_was_met_meanwhile(request: pytest.FixtureRequest) -> None:
    report = judged(request.node, told=0.1)
    assert (report.outcome, report.wasxfail) == ("skipped", known_faults.LATE_DATA.args[0])


@known_faults.LATE_DATA
@pytest.mark.parametrize("told", [None, -0.1])
def test_a_fault_that_was_not_met_or_met_before(request: pytest.FixtureRequest, told: float | None) -> None:
    assert judged(request.node, told=told).outcome == "failed"


@known_faults.LATE_DATA
def test_our_own_engine_has_no_such_fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PORTABLE", False)
    assert judged(request.node, told=0.1).outcome == "failed"


def test_a_test_without_the_marker_fails(request: pytest.FixtureRequest) -> None:
    assert judged(request.node, told=0.1).outcome == "failed"


def test_what_a_program_prints_is_seen() -> None:
    began = time.time()
    code = "import sys; print('  | KeyError: 17', file=sys.stderr); print('KeyError: name')"
    program = process.Program([sys.executable, "-c", code])
    program.wait()
    assert len(process.late_data) == 1
    assert process.late_data[0] >= began
