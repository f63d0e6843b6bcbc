"""The runner of coroutine tests; fixtures of several folders: a certificate authority, destinations, a running pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.helpers import known_faults, pog, runner
from tests.helpers.origin import Origins
from tests.helpers.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "loops(*names): the event loops for a coroutine test: production, asyncio, uvloop",
        "known_fault(reason): on the portable path the test may meet this fault of Hypercorn's",
    ):
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    runner.parametrize(metafunc)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Coroutine tests with a fixture of pog.grpctest are run by its plugin, which comes first."""
    return runner.call(pyfuncitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    known_faults.judge(item, call, report)
    return report


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def origins() -> Iterator[Origins]:
    started = Origins()
    yield started
    started.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """A client and its server, as two processes."""

    client: pog.End
    server: pog.End


@pytest.fixture(scope="session")
def shared_server() -> Iterator[pog.End]:
    """A server without authentication, for tests that leave nothing behind."""
    end = pog.server()
    with end.program:
        yield end


@pytest.fixture(scope="session")
def pair(shared_server: pog.End) -> Iterator[Pair]:
    """Both ends without authentication, for tests that leave nothing behind."""
    end = pog.client(shared_server.host_port)
    with end.program:
        yield Pair(end, shared_server)
