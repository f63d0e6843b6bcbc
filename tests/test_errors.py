import pytest

from pog.errors import (
    ERRORS,
    AuthBusy,
    AuthError,
    ConnectionLost,
    DialError,
    DialKind,
    PogError,
    SettingsError,
    TunnelReset,
)


def test_every_kind_of_failed_dial_is_in_the_table() -> None:
    assert set(ERRORS) == set(DialKind)


@pytest.mark.parametrize("kind", DialKind)
def test_dial_error_names_the_destination_the_reason_and_the_detail(kind: DialKind) -> None:
    error = DialError(kind, "example.com:443", "errno 113")
    assert str(error) == f"example.com:443 {ERRORS[kind].summary}: errno 113"
    assert error.failure is ERRORS[kind]
    assert not str(DialError(kind, "example.com:443")).endswith(":")


def test_settings_error_names_the_variable() -> None:
    assert str(SettingsError("PORT", "must be a number")) == "PORT: must be a number"


def test_auth_errors_tell_only_missing_from_refused() -> None:
    assert str(AuthError()) == str(AuthError(missing=False))
    assert str(AuthError(missing=True)) != str(AuthError())
    assert str(AuthBusy()) == "too many logins at a time, try again"


def test_ends_of_tunnels_carry_data() -> None:
    assert (TunnelReset(8, by_peer=True).code, TunnelReset(8, by_peer=True).by_peer) == (8, True)
    assert "0x8" in str(TunnelReset(8, by_peer=False))
    assert isinstance(ConnectionLost("reset"), PogError)
