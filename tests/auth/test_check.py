import asyncio
import threading
import timeit
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.auth import check
from pog.auth.check import Authenticator, dummy_hash, parse_basic
from pog.config.auth_items import AuthItem
from pog.config.server_settings import ServerSettings
from pog.errors import AuthBusy, AuthError
from pog.observe.metrics import Metrics
from pog.tunnel.live import Tunnels
from pog.tunnel.request import ANONYMOUS, User

NOW = datetime(2024, 6, 15, tzinfo=UTC)
HASHES = {cost: bcrypt.hashpw(b"right", bcrypt.gensalt(cost, prefix=b"2a")).decode() for cost in (4, 5, 6)}


def item(name: str, cost: int = 4, days: float = 1, hashed: str | None = None) -> AuthItem:
    return AuthItem(name, hashed or HASHES[cost], NOW + timedelta(days=days))


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class Clock:
    """The time that an authenticator sees."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("server", ServerSettings(), Tunnels())


class Runs(list[int]):
    """The cost of every run of bcrypt; `gate` holds the runs until it is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    runs = Runs()

    def counted(password: bytes, hashed: bytes, real: Callable[[bytes, bytes], bool] = bcrypt.checkpw) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        runs.gate.wait(10)
        runs.append(int(hashed[4:6]))
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    yield runs
    runs.gate.set()


async def outcome(auth: Authenticator, *headers: str | None) -> list[str]:
    """What each header gets, one after the other: the user, or the error's text."""
    results: list[str] = []
    with closing(auth):
        for header in headers:
            try:
                results.append((await auth.check(header, "peer")).name)
            except AuthError as error:
                results.append(str(error))
    return results


async def test_without_items_everybody_passes(metrics: Metrics) -> None:
    auth = Authenticator((), "POG_AUTH_", metrics)
    assert auth.is_open
    assert auth.check_nowait(None) == auth.check_nowait("nonsense") == ANONYMOUS
    assert await outcome(auth, None, "nonsense") == ["anonymous", "anonymous"]
    assert metrics.registry.get_sample_value("auth_item_earliest_expiry", {"name": "POG_AUTH_"}) is None


async def test_the_right_password_passes_in_every_spelling_that_the_original_takes(metrics: Metrics) -> None:
    auth = Authenticator([item("ilya"), item("anna", cost=5)], "POG_AUTH_", metrics, now=Clock())
    assert not auth.is_open
    good = basic("ilya", "right")
    spellings = [good, good.replace("Basic", "bAsIc"), good.replace(" ", "   "), good.removeprefix("Basic ")]
    assert await outcome(auth, *spellings, basic("anna", "right")) == ["ilya"] * 4 + ["anna"]


async def test_no_stranger_can_tell_unknown_from_wrong_from_expired(metrics: Metrics, runs: Runs) -> None:
    """Neither by the text nor by the work: the sum of 2**cost is what bcrypt's time is made of."""
    items = [item("cheap", cost=4), item("dear", cost=6), item("old", cost=4, days=-1), item("older", cost=6, days=-9)]
    strangers = {"nobody", "cheap", "dear"}
    works, texts = set(), set()
    for user in ("nobody", "cheap", "dear", "old", "older"):
        auth = Authenticator(items, "POG_AUTH_", metrics, now=Clock())
        password = "wrong" if user in strangers else "right"
        texts.update(await outcome(auth, basic(user, password)))
        works.add(sum(2**cost for cost in runs))
        runs.clear()
    assert texts == {"wrong or expired user and/or password"}
    assert works == {2**6}


async def test_the_log_says_what_was_wrong(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    auth = Authenticator([item("ilya"), item("old", days=-1)], "POG_AUTH_", metrics, now=Clock())
    headers = [basic("nobody", "right"), basic("ilya", "wrong"), basic("old", "right"), basic("old", "wrong")]
    await outcome(auth, *headers, "Basic !", None)
    assert [message.partition(", from peer")[0] for message in caplog.messages] == [
        "a login of 'nobody' was refused: unknown user",
        "a login of 'ilya' was refused: wrong password",
        "a login of 'old' was refused: expired item",
        "a login of 'old' was refused: wrong password",
        "a login was refused: malformed credentials",
    ]
    assert "right" not in caplog.text


async def test_a_success_is_remembered_and_costs_no_second_run(metrics: Metrics, runs: Runs) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    good = basic("ilya", "right")
    assert auth.check_nowait(good) is None
    assert await outcome(auth, good, good) == ["ilya", "ilya"]
    assert auth.check_nowait(good) == User("ilya")
    assert runs == [4]
    assert auth.check_nowait(basic("ilya", "wrong")) is None


async def test_what_is_remembered_is_neither_the_password_nor_the_header(metrics: Metrics) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    good = basic("ilya", "right")
    await outcome(auth, good)
    assert "right" not in repr(auth._remembered)
    assert good.removeprefix("Basic ") not in repr(auth._remembered)


async def test_a_refusal_is_not_remembered(metrics: Metrics, runs: Runs) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    await outcome(auth, basic("ilya", "wrong"), basic("ilya", "wrong"))
    assert runs == [4, 4]
    assert metrics.registry.get_sample_value("auth_failures_total") == 2


async def test_what_was_remembered_ends_with_its_item(metrics: Metrics) -> None:
    clock = Clock()
    auth = Authenticator([item("ilya", days=1)], "POG_AUTH_", metrics, now=clock)
    good = basic("ilya", "right")
    await outcome(auth, good)
    clock.now = NOW + timedelta(days=1)
    assert auth.check_nowait(good) == User("ilya")
    clock.now += timedelta(seconds=1)
    assert auth.check_nowait(good) is None


async def test_memory_is_bounded_and_the_oldest_goes_first(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MOST_REMEMBERED", 2)
    users = [basic(name, "right") for name in "abc"]
    auth = Authenticator([item(name) for name in "abc"], "POG_AUTH_", metrics, now=Clock())
    await outcome(auth, *users)
    assert [auth.check_nowait(user) for user in users] == [None, User("b"), User("c")]


async def test_the_same_credentials_at_the_same_time_share_one_run(metrics: Metrics, runs: Runs) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())

    with closing(auth):
        runs.gate.clear()
        asking = [asyncio.create_task(auth.check(basic("ilya", "right"), "peer")) for _ in range(20)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        runs.gate.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [User("ilya")] * 19
    assert runs == [4]


async def test_only_so_many_may_wait(metrics: Metrics, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MOST_WAITING", 3)
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())

    with closing(auth):
        runs.gate.clear()
        waiting = [asyncio.create_task(auth.check(basic("ilya", f"wrong {n}"), "peer")) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(AuthBusy):
            await auth.check(basic("ilya", "right"), "peer")
        runs.gate.set()
        assert all(isinstance(each, AuthError) for each in await asyncio.gather(*waiting, return_exceptions=True))
        assert await auth.check(basic("ilya", "right"), "peer") == User("ilya")


async def test_the_loop_goes_on_while_bcrypt_runs(metrics: Metrics, runs: Runs) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())

    with closing(auth):
        runs.gate.clear()
        asking = asyncio.create_task(auth.check(basic("ilya", "right"), "peer"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asking.done()
        runs.gate.set()
        assert await asking == User("ilya")


async def test_passwords_beyond_the_limit_of_bcrypt_never_pass(metrics: Metrics) -> None:
    longest = "x" * 72
    hashed = bcrypt.hashpw(longest.encode(), bcrypt.gensalt(4)).decode()
    auth = Authenticator([item("ilya", hashed=hashed)], "POG_AUTH_", metrics, now=Clock())
    refused = str(AuthError())
    assert await outcome(auth, basic("ilya", longest), basic("ilya", longest + "y")) == ["ilya", refused]


async def test_of_two_items_with_one_name_the_first_counts(metrics: Metrics) -> None:
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
    auth = Authenticator([item("ilya"), item("ilya", hashed=other)], "POG_AUTH_", metrics, now=Clock())
    assert await outcome(auth, basic("ilya", "right"), basic("ilya", "other")) == ["ilya", str(AuthError())]


MALFORMED = [
    "Bearer abc",
    "Basic",
    "Basic ",
    "Basic !!!",
    "Basic aWx5YQ==",
    "Basic aWx5YTpy aWdodA==",
    "ä",
    "\udcff",
    "x" * 9999,
]


@pytest.mark.parametrize("header", MALFORMED)
async def test_malformed_credentials_are_refused_with_the_same_text(metrics: Metrics, runs: Runs, header: str) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    assert auth.check_nowait(header) is None
    assert await outcome(auth, header) == [str(AuthError())]
    assert runs == []


async def test_missing_credentials_are_asked_for(metrics: Metrics) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    assert await outcome(auth, None, "") == ["user and password required"] * 2
    assert metrics.registry.get_sample_value("auth_failures_total") == 0


@given(st.text())
def test_any_header_is_parsed_without_an_error(header: str) -> None:
    parse_basic(header)
    parse_basic("Basic " + header)


@given(st.binary(max_size=100).filter(lambda user: b":" not in user), st.binary(max_size=100))
def test_user_and_password_come_out_as_they_went_in(user: bytes, password: bytes) -> None:
    assert parse_basic("basic " + b64encode(user + b":" + password).decode()) == (user, password)


def test_the_earliest_expiry_is_a_metric(metrics: Metrics) -> None:
    Authenticator([item("late", days=9), item("soon", days=2)], "CLIENT_AUTH_", metrics)
    value = metrics.registry.get_sample_value("auth_item_earliest_expiry", {"name": "CLIENT_AUTH_"})
    assert value == (NOW + timedelta(days=2)).timestamp()


@pytest.mark.parametrize("cost", [4, 5])
def test_a_dummy_hash_is_a_hash(cost: int) -> None:
    assert bcrypt.checkpw(b"anything", dummy_hash(cost)) is False


async def test_a_remembered_check_costs_microseconds(metrics: Metrics) -> None:
    auth = Authenticator([item("ilya")], "POG_AUTH_", metrics, now=Clock())
    good = basic("ilya", "right")
    await outcome(auth, good)
    auth._now = lambda: 0.0
    rounds = 2000
    best = min(timeit.repeat(lambda: auth.check_nowait(good), number=rounds, repeat=5)) / rounds
    # It is about 2 µs; the margin is for a busy machine.
    assert best < 50e-6


async def test_other_items_count_at_once(metrics: Metrics) -> None:
    auth = Authenticator([item("ilya"), item("anna")], "POG_AUTH_", metrics, now=Clock())
    good = [basic(name, "right") for name in ("ilya", "anna", "nina")]

    with closing(auth):
        await auth.check(good[0], "peer")
        auth.replace([item("anna"), item("nina", days=9)])
        assert auth.check_nowait(good[0]) is None
        with pytest.raises(AuthError):
            await auth.check(good[0], "peer")
        assert [await auth.check(each, "peer") for each in good[1:]] == [User("anna"), User("nina")]
    expiry = metrics.registry.get_sample_value("auth_item_earliest_expiry", {"name": "POG_AUTH_"})
    assert expiry == (NOW + timedelta(days=1)).timestamp()


async def test_a_check_under_way_is_made_again_when_the_items_change(metrics: Metrics, runs: Runs) -> None:
    """Who was removed does not slip in, who was added is not turned away."""
    auth = Authenticator([item("ilya"), item("anna")], "POG_AUTH_", metrics, now=Clock())

    with closing(auth):
        runs.gate.clear()
        removed, added = (asyncio.create_task(auth.check(basic(name, "right"), "peer")) for name in ("ilya", "nina"))
        await asyncio.sleep(0)
        auth.replace([item("nina")])
        runs.gate.set()
        assert await added == User("nina")
        with pytest.raises(AuthError):
            await removed
    assert len(auth._remembered) == 1
