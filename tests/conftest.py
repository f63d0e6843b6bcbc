"""Fixtures that several folders share: a certificate authority, destinations, and one running pair of both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import Origins
from tests.helpers.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator


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
