import pytest
from grpclib.const import Status
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import (
    DIAL_KINDS,
    WORDINGS,
    AuthBusy,
    AuthError,
    Blame,
    ConnectionLost,
    DialError,
    Failure,
    FailureKind,
    PogError,
    SettingsError,
    TunnelReset,
    failure_of_destination,
    failure_of_exit,
    go_name,
)


def test_every_kind_of_failure_is_in_the_one_table() -> None:
    assert set(WORDINGS) == set(FailureKind)
    for wording in WORDINGS.values():
        assert 400 <= wording.http_status <= 599
        assert wording.grpc_status is not Status.OK
        assert 1 <= wording.socks5_reply <= 8


@pytest.mark.parametrize("kind", DIAL_KINDS)
def test_dial_error_names_the_destination_the_reason_and_the_detail(kind: FailureKind) -> None:
    error = DialError(kind, "example.com:443", "errno 113")
    assert str(error) == f"example.com:443 {WORDINGS[kind].summary}: errno 113"
    assert error.failure == Failure(kind, str(error))
    assert not str(DialError(kind, "example.com:443")).endswith(":")
    assert WORDINGS[kind].blame is (Blame.US if kind is FailureKind.LIMIT else Blame.DESTINATION)


@pytest.mark.parametrize("kind", DIAL_KINDS)
def test_the_kind_itself_travels_to_the_client(kind: FailureKind) -> None:
    told = failure_of_destination(WORDINGS[kind].http_status, "why", kind.value)
    # A server's limit is, seen from the client, an exit that is busy.
    expected = FailureKind.EXIT_BUSY if kind is FailureKind.LIMIT else kind
    assert told == Failure(expected, "why", WORDINGS[kind].http_status)


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, FailureKind.BAD_ADDRESS, "http_request_error"),
        (403, FailureKind.DENIED, "destination_ip_prohibited"),
        (502, FailureKind.FAILED, "destination_unavailable"),
        (503, FailureKind.FAILED, "destination_unavailable"),
        (504, FailureKind.TIMEOUT, "connection_timeout"),
        (418, FailureKind.EXIT_FAILED, "proxy_internal_error"),
    ],
)
@pytest.mark.parametrize("told", [None, "", "a kind of the future"])
def test_without_a_known_kind_the_status_of_http_counts(
    status: int, kind: FailureKind, error: str, told: str | None
) -> None:
    failure = failure_of_destination(status, "why", told)
    assert (failure.kind, failure.http_status, failure.wording.proxy_error) == (kind, status, error)


@given(st.integers(-(2**31), 2**31 - 1), st.text(), st.text() | st.none())
def test_a_server_may_say_anything(status: int, text: str, kind: str | None) -> None:
    failure = failure_of_destination(status, text, kind)
    assert 400 <= failure.http_status <= 599
    assert failure.text


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.OK])
def test_what_ends_a_call_is_the_exits_failure(status: Status) -> None:
    failure = failure_of_exit(status, "why")
    assert failure.wording.blame is Blame.EXIT
    assert failure.http_status == (503 if status in (Status.UNAVAILABLE, Status.UNAUTHENTICATED) else 500)
    assert status.name in failure.text
    assert failure.text.endswith("why")


def test_statuses_have_the_names_that_go_prints() -> None:
    assert [go_name(each) for each in (Status.OK, Status.CANCELLED, Status.DEADLINE_EXCEEDED)] == [
        "OK",
        "Canceled",
        "DeadlineExceeded",
    ]


def test_settings_error_names_the_variable() -> None:
    assert str(SettingsError("PORT", "must be a number")) == "PORT: must be a number"


def test_auth_errors_tell_only_missing_from_refused() -> None:
    assert str(AuthError()) == str(AuthError(missing=False))
    assert str(AuthError(missing=True)) != str(AuthError())
    assert str(AuthBusy()) == "too many logins at a time, try again"


def test_what_is_no_fault_of_the_credentials_is_not_told_as_one() -> None:
    wording = AuthBusy().failure.wording
    assert wording.grpc_status is Status.UNAVAILABLE  # worth another try; the Go original's client says 503 for it
    assert (wording.http_status, wording.proxy_error) == (503, "connection_limit_reached")


def test_ends_of_tunnels_carry_data() -> None:
    assert (TunnelReset(8, by_peer=True).code, TunnelReset(8, by_peer=True).by_peer) == (8, True)
    assert "0x8" in str(TunnelReset(8, by_peer=False))
    assert isinstance(ConnectionLost("reset"), PogError)
