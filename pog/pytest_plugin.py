"""pytest's way to pog.grpctest: the fixtures grpc_server and grpc_channel, markers, and a look at what a test leaves.

pytest loads this wherever pog is installed, so it imports nothing but pytest until a test asks for a fixture.

A coroutine test that uses the fixtures needs no other plugin: it is run here. One that is marked for pytest-asyncio or
anyio is run by them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from grpclib.client import Channel

    from pog.grpctest import Faults, ServerFactory, Service, Serving, Transport
    from pog.grpctest.leftovers import NewTasks

    T = TypeVar("T")

_FIXTURES = {"grpc_server", "grpc_channel"}
# A project with one of these runs coroutine tests itself.
_OTHER_RUNNERS = ("asyncio", "anyio", "trio", "twisted", "tornado")
_MARKERS = (
    "grpc_transport(*names): tcp, memory, tls, app or grpcio; with several names the test runs once for each",
    "grpc_leaves_sockets: no look at the sockets that the test leaves open",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("grpc_transport")
    if marker is not None and "grpc_transport" in metafunc.fixturenames:
        metafunc.parametrize("grpc_transport", marker.args)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    runner = pyfuncitem.funcargs.get("_grpc_runner")
    if not isinstance(runner, Runner):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Where another plugin runs the loop, its tasks are looked at before that plugin ends them."""
    result = yield
    tasks = item.funcargs.get("_grpc_tasks") if isinstance(item, pytest.Function) else None
    if tasks is not None:
        _fail_if(cast("NewTasks", tasks).left())
    return result


class Runner:
    """The loop of one test, and of the fixture that it uses."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def close(self) -> list[str]:
        """Cancels what still runs after a moment, and gives the names."""
        from pog.grpctest.leftovers import tasks_left

        with self._runner:
            return self.run(tasks_left())


@pytest.fixture
def grpc_transport() -> str:
    """How the client reaches the services; a module or a folder may define its own."""
    return "tcp"


@pytest.fixture
def grpc_services() -> Sequence[Service]:
    """What grpc_channel leads to: to be defined where that is used."""
    pytest.fail("grpc_channel needs a fixture grpc_services that returns the services to be served", pytrace=False)


@pytest.fixture
def _grpc_runner(request: pytest.FixtureRequest) -> Iterator[Runner | None]:
    if not _runs_here(request):
        yield None
        return
    runner = Runner()
    yield runner
    _fail_if(runner.close())


@pytest.fixture
def _grpc_tasks(_grpc_runner: Runner | None) -> NewTasks | None:
    from pog.grpctest.leftovers import NewTasks

    return NewTasks() if _grpc_runner is None else None


@pytest.fixture
def grpc_server(
    request: pytest.FixtureRequest, grpc_transport: Transport | str, _grpc_tasks: NewTasks | None
) -> Iterator[ServerFactory]:
    """As pog.grpctest.serve, over the transport that the test's marker names."""
    from pog.grpctest import serve
    from pog.grpctest.sockets import Sockets

    sockets = Sockets()

    def start(
        *services: Service, transport: Transport | str | None = None, faults: Faults | None = None, port: int = 0
    ) -> AbstractAsyncContextManager[Serving]:
        if _grpc_tasks is not None:
            _grpc_tasks.look()
        return serve(*services, transport=transport or grpc_transport, faults=faults, port=port)

    yield start
    if request.node.get_closest_marker("grpc_leaves_sockets") is None:
        _fail_if(sockets.left())


@pytest.fixture
def grpc_channel(
    request: pytest.FixtureRequest,
    grpc_server: ServerFactory,
    grpc_services: Sequence[Service],
    _grpc_runner: Runner | None,
) -> Iterator[Channel]:
    """A channel to the services of the fixture grpc_services."""
    if _grpc_runner is None:
        if not inspect.iscoroutinefunction(request.function):
            pytest.fail("grpc_channel needs a test that is a coroutine: async def", pytrace=False)
        yield request.getfixturevalue("_grpc_channel_elsewhere")
        return
    serving = grpc_server(*grpc_services)
    yield _grpc_runner.run(_enter(serving)).channel
    _grpc_runner.run(_leave(serving))


async def _channel(grpc_server: ServerFactory, grpc_services: Sequence[Service]) -> AsyncIterator[Channel]:
    """On the loop of another plugin, which runs this fixture."""
    async with grpc_server(*grpc_services) as sc:
        yield sc.channel


# In its strict mode pytest-asyncio runs only the fixtures that it has marked itself.
_marking = importlib.import_module("pytest_asyncio" if importlib.util.find_spec("pytest_asyncio") else "pytest")
_grpc_channel_elsewhere = _marking.fixture(name="_grpc_channel_elsewhere")(_channel)


async def _enter(serving: AbstractAsyncContextManager[Serving]) -> Serving:
    return await serving.__aenter__()


async def _leave(serving: AbstractAsyncContextManager[Serving]) -> None:
    await serving.__aexit__(None, None, None)


def _runs_here(request: pytest.FixtureRequest) -> bool:
    """Whether the test is a coroutine that nobody else runs."""
    node = request.node
    if not isinstance(node, pytest.Function) or not inspect.iscoroutinefunction(node.obj):
        return False
    marked = any(node.get_closest_marker(name) for name in _OTHER_RUNNERS)
    return not marked and "anyio_backend" not in node.fixturenames


def _fail_if(left: list[str]) -> None:
    if left:
        pytest.fail("the test leaves running:\n" + "\n".join(f"    {name}" for name in left), pytrace=False)
