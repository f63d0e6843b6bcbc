"""Looking up names: a name that is never answered costs only itself, and nothing waits for it at the end."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import LimitReached
from pog.net import resolve
from pog.net.resolve import Answers, Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.net.resolve import AddrInfo, Found

NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def info(ip: str, port: int = 0) -> AddrInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))


class System:
    """Stands for libc: what it answers for each name, when. Lookups of names that are not in `answers` hang."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self._changed = threading.Condition()

    def lookup(self, host: str) -> list[AddrInfo]:
        with self._changed:
            self.asked.append(host)
            self._changed.wait_for(lambda: host in self.answers)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return [info(answer)]

    def answer(self, host: str, answer: str | Exception = "192.0.2.1") -> None:
        with self._changed:
            self.answers[host] = answer
            self._changed.notify_all()

    def wait_asked(self, count: int) -> None:
        """Waits until this number of lookups have begun in their threads."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, 10)


@pytest.fixture
def system() -> Iterator[System]:
    """When the test and its loop have ended, every lookup that still hangs returns, and its thread is gone."""
    stand_in = System()
    yield stand_in
    for host in stand_in.asked:
        if host not in stand_in.answers:
            stand_in.answer(host)
    join_threads()


def join_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("resolve "):
            thread.join(10)


async def hanging(resolver: Resolver, system: System, *hosts: str) -> list[asyncio.Task[Found]]:
    """Requests for names that are not answered, whose lookups have begun."""
    before = len(system.asked)
    tasks = [asyncio.create_task(resolver.resolve(host, 80)) for host in hosts]
    await asyncio.sleep(0)
    system.wait_asked(before + len(hosts))
    return tasks


async def cancel(tasks: list[asyncio.Task[Found]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_names_that_hang_do_not_delay_a_good_one(system: System) -> None:
    system.answer("good.test", "192.0.2.7")
    resolver = Resolver(system.lookup)
    tasks = await hanging(resolver, system, *(f"h{number}.test" for number in range(200)))
    assert await resolver.resolve("good.test", 443) == (info("192.0.2.7", 443),)
    assert not any(task.done() for task in tasks)
    assert resolver.threads == 200
    await cancel(tasks)


async def test_the_loop_closes_while_names_hang(system: System) -> None:
    """That this test ends is the test: the lookups are answered after its loop has closed."""
    await cancel(await hanging(Resolver(system.lookup), system, "a.test", "b.test"))
    assert system.asked == ["a.test", "b.test"]


async def test_an_address_needs_no_lookup(system: System) -> None:
    resolver = Resolver(system.lookup)
    assert await resolver.resolve("192.0.2.1", 80) == (info("192.0.2.1", 80),)
    ((family, _, _, _, address),) = await resolver.resolve("2001:db8::1", 80)
    assert family == socket.AF_INET6
    assert address[:2] == ("2001:db8::1", 80)
    assert system.asked == []


async def test_requests_for_one_name_share_its_lookup(system: System) -> None:
    """A name is the same in every spelling of its case; ports differ."""
    resolver = Resolver(system.lookup)
    first = await hanging(resolver, system, "slow.test")
    others = [asyncio.create_task(resolver.resolve(host, 443)) for host in ("slow.test", "Slow.TEST")]
    await asyncio.sleep(0)
    system.answer("slow.test", "192.0.2.9")
    assert await first[0] == (info("192.0.2.9", 80),)
    assert [await each for each in others] == [(info("192.0.2.9", 443),)] * 2
    assert system.asked == ["slow.test"]


async def test_a_caller_that_gives_up_leaves_the_others_waiting_and_the_answer_is_kept(system: System) -> None:
    resolver = Resolver(system.lookup)
    first, second = await hanging(resolver, system, "slow.test") + [
        asyncio.create_task(resolver.resolve("slow.test", 80))
    ]
    await asyncio.sleep(0)
    await cancel([first])
    assert not second.done()
    system.answer("slow.test")
    assert await second == await resolver.resolve("slow.test", 80)
    assert system.asked == ["slow.test"]


async def test_a_failure_is_not_kept(system: System) -> None:
    system.answer("no.test", NO_NAME)
    resolver = Resolver(system.lookup)
    with pytest.raises(socket.gaierror, match="not known"):
        await resolver.resolve("no.test", 80)
    system.answer("no.test", "192.0.2.3")
    assert await resolver.resolve("no.test", 80) == (info("192.0.2.3", 80),)
    assert system.asked == ["no.test"] * 2


async def test_a_failure_after_the_last_caller_gave_up_is_not_logged(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = Resolver(system.lookup)
    await cancel(await hanging(resolver, system, "slow.test"))
    system.answer("slow.test", NO_NAME)
    join_threads()
    await asyncio.sleep(0)
    assert resolver.threads == 0
    assert caplog.text == ""


async def test_beyond_the_limit_of_threads_lookups_wait_in_order(system: System) -> None:
    resolver = Resolver(system.lookup, max_lookups=2, queue_timeout=60)
    first = await hanging(resolver, system, "a.test", "b.test")
    queued = [asyncio.create_task(resolver.resolve(host, 80)) for host in ("c.test", "d.test", "c.test")]
    await asyncio.sleep(0)
    assert system.asked == ["a.test", "b.test"]
    system.answer("b.test")
    await first[1]
    system.wait_asked(3)
    assert system.asked[2:] == ["c.test"]
    assert resolver.threads == 2
    for host in ("a.test", "c.test", "d.test"):
        system.answer(host)
    await asyncio.gather(*first, *queued)
    assert resolver.threads == 0
    assert system.asked == ["a.test", "b.test", "c.test", "d.test"]


async def test_a_lookup_that_finds_no_thread_in_time_says_so(system: System) -> None:
    system.answer("b.test", "192.0.2.1")
    resolver = Resolver(system.lookup, max_lookups=1, queue_timeout=0)
    tasks = await hanging(resolver, system, "a.test")
    with pytest.raises(LimitReached, match="1 names are being looked up, the limit"):
        await resolver.resolve("b.test", 80)
    system.answer("a.test")
    await tasks[0]
    assert await resolver.resolve("b.test", 80)
    assert system.asked == ["a.test", "b.test"]


async def test_a_system_without_threads(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    system.answer("good.test", "192.0.2.1")
    resolver = Resolver(system.lookup)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(LimitReached, match="can't start new thread"):
            await resolver.resolve("good.test", 80)
    assert await resolver.resolve("good.test", 80)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("told", [True, False], ids=["libc says it", "libc does not say it"])
def test_a_lack_of_our_own_is_not_the_names_fault(monkeypatch: pytest.MonkeyPatch, number: int, told: bool) -> None:
    """glibc gives the errno; a resolver that only fails to open its socket reports a temporary failure."""
    lack = OSError(number, "no more")

    def no_socket() -> socket.socket:
        raise lack

    monkeypatch.setattr(socket, "socket", no_socket)
    error = resolve._classified(lack if told else socket.gaierror(socket.EAI_AGAIN, "Temporary failure"))
    assert isinstance(error, LimitReached)
    assert str(error) == "no more"


def test_other_failures_stay_what_they_are() -> None:
    again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
    assert resolve._classified(again) is again


async def test_a_label_that_cannot_be_encoded() -> None:
    with pytest.raises(UnicodeError):
        await Resolver().resolve(f"{'a' * 64}.test", 80)


async def test_addresses_of_other_families_are_left_out() -> None:
    def lookup(_: str) -> list[Any]:
        scoped = ("fe80::1", 0, 0, 2)
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "x"), (socket.AF_INET6, socket.SOCK_STREAM, 6, "", scoped)]

    (found,) = await Resolver(lookup).resolve("a.test", 443)
    assert found[4] == ("fe80::1", 443, 0, 2)
    with pytest.raises(socket.gaierror):
        await Resolver(lambda name: lookup(name)[:1]).resolve("a.test", 443)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.floats(0, 4)), max_size=60))
def test_answers_are_bounded_fresh_and_the_last_ones_found(steps: list[tuple[str, bool, float]]) -> None:
    """Against the plainest model: everything that was ever put, with its time."""
    answers, now = Answers(seconds=5, limit=3), 0.0
    put: list[tuple[str, float, Found]] = []
    for number, (name, is_put, passes) in enumerate(steps):
        now += passes
        if is_put:
            found = (info(f"192.0.2.{number}"),)
            answers.put(name, found, now)
            put.append((name, now, found))
        else:
            got = answers.get(name, now)
            latest = next(((when, found) for each, when, found in reversed(put) if each == name), None)
            assert got is None or (latest is not None and got is latest[1] and now - latest[0] < 5)
    # Those found last are known, each name once.
    known = {name: found for name, when, found in put if now - when < 5}
    last = list(dict.fromkeys(name for name, _, _ in reversed(put)))[:3]
    assert [name for name in "abcdef" if answers.get(name, now)] == sorted(set(last) & known.keys())
