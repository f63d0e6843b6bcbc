import base64
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.config import parsers
from pog.config.exits import Login
from pog.config.parsers import (
    Kind,
    parse_bool,
    parse_duration,
    parse_listen,
    parse_seconds,
    parse_server,
)
from pog.net.address import Address

MINUTE, HOUR = 60.0, 3600.0


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true_is_what_go_takes_for_it(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false_is_what_go_takes_for_it(text: str) -> None:
    assert parse_bool(text) is False


@given(st.text().filter(lambda text: text not in parsers.TRUE + parsers.FALSE))
def test_every_other_text_is_no_boolean(text: str) -> None:
    with pytest.raises(ValueError):
        parse_bool(text)


DURATIONS = {
    "0": 0.0,
    "+0": 0.0,
    "10s": 10.0,
    "1m30s": 90.0,
    "100000h": 100_000 * HOUR,
    "30d": 30 * 24 * HOUR,
    "1d12h": 36 * HOUR,
    ".5d": 12 * HOUR,
    "4320h0m0s": 4320 * HOUR,
    "1.5h": 1.5 * HOUR,
    ".5m": 30.0,
    "1.s": 1.0,
    "300ms": 0.3,
    "2us": 2e-6,
    "2µs": 2e-6,
    "7ns": 7e-9,
    "-1h30m": -1.5 * HOUR,
    "1s1s": 2.0,
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_durations_are_written_as_in_go_and_in_days(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1 s", "1w", "d", "-", "1h-1m", ".s", "1hs", "2600000000h", "1e3s", "٣s"]
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(0, 9000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{millis}ms"
    assert parse_duration(text) == pytest.approx(hours * HOUR + minutes * MINUTE + seconds + millis / 1000)


@pytest.mark.parametrize(("text", "seconds"), [("10", 10.0), ("0", 0.0), ("0.5", 0.5), ("1.", 1.0), ("1m", 60.0)])
def test_seconds_go_without_a_unit_too(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "-1s", "inf", "nan", "1e3", " 1", "1_000", "9" * 400])
def test_other_seconds_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_seconds(text)


LISTEN = {
    ":18080": Address("", 18080),
    "127.0.0.1:0": Address("127.0.0.1", 0),
    "[::1]:8080": Address("::1", 8080),
    "localhost:65535": Address("localhost", 65535),
}


@pytest.mark.parametrize(("text", "address"), LISTEN.items())
def test_listen_addresses_are_written_as_in_go(text: str, address: Address) -> None:
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "8080", ":", ":x", "::1:80", "[::1]", ":65536", ":-1", "a b:1", "http://a:80", ":٣"]
)
def test_other_listen_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


SERVERS = {
    "pog.example.com:8443": Address("pog.example.com", 8443),
    "127.0.0.1:80": Address("127.0.0.1", 80),
    "[::1]:80": Address("::1", 80),
    "pog.example.:443": Address("pog.example.", 443),
    "my_host:443": Address("my_host", 443),
    "bücher.example:443": Address("xn--bcher-kva.example", 443),
    f"{'a' * 63}.example:443": Address(f"{'a' * 63}.example", 443),
}


@pytest.mark.parametrize(("text", "address"), SERVERS.items())
def test_a_server_is_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":80", "host:", "host:0", "host:https", "https://host", "https://host:443", "::1", "host/x", "u@host:1"]
    + [f"{host}:443" for host in ("pog..example", ".pog.example", "pog.example..", ".", "a" * 64, "a." * 127 + "a")]
    + [f"{host}:443" for host in ('"pog.example"', "'pog.example'", " pog.example", "pog.example ", "a\tb", "a\u00a0b")]
    + [
        f"{host}:443"
        for host in ("a\uff0fb", "a\udcff", "é" * 60, "*.example", "pog.example:443", "[::1", "[pog.example]")
    ],
)
def test_other_servers_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_server(text)


@given(st.text())
def test_addresses_parse_back_from_their_text(text: str) -> None:
    try:
        address = parse_listen(text)
    except ValueError:
        return
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_only_loopback_addresses_are_closed_to_others(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


def test_a_login_shows_its_password_only_in_the_header() -> None:
    login = parsers.parse_login("pog-client:s3cret:with colon")
    assert login == Login("pog-client", "s3cret:with colon")
    assert "s3cret" not in f"{login} {login!r}"
    assert base64.b64decode(login.basic().removeprefix("Basic ")) == b"pog-client:s3cret:with colon"


def test_names() -> None:
    assert parsers.NAMES.parse("client") == ("client",)
    assert parsers.NAMES.parse("Client, proxy.example.com.,z\u00fcrich.example") == (
        "client",
        "proxy.example.com",
        "xn--zrich-kva.example",
    )
    for bad in ("", ",", "a,,b", "client:18080", "http://client", "a b", "*.example.com", "[::1]", "::1"):
        with pytest.raises(ValueError):
            parsers.NAMES.parse(bad)


def test_networks() -> None:
    assert parsers.NETWORKS.parse("127.0.0.0/8, ::1") == (
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("pog.example", "pog.example"),
        ("pog.example.", "pog.example."),
        ("pog.example:8443", "pog.example:8443"),
        ("bücher.example:1", "xn--bcher-kva.example:1"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:443", "[::1]:443"),
    ],
)
def test_an_authority_is_a_host_with_or_without_a_port(text: str, authority: str) -> None:
    assert parsers.AUTHORITY.parse(text) == authority


@pytest.mark.parametrize(
    "text",
    ["https://pog.example", "pog.example/", '"pog.example"', " pog.example", "pog.example ", "pog..example", "::1", ""]
    + ["pog.example:", "pog.example:https", "pog.example:0", ":443", "user:password@pog.example", "two\nlines"]
    + ["a\udcff", "[pog.example]", "[::1", "a" * 64],
)
def test_other_authorities_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parsers.AUTHORITY.parse(text)


@given(st.text() | st.text("ab.:[]1é-_\uff0f"))
def test_whatever_is_an_authority_is_ascii_and_parses_to_itself(text: str) -> None:
    try:
        authority = parsers.AUTHORITY.parse(text)
    except ValueError:
        return
    assert authority.isascii()
    assert parsers.AUTHORITY.parse(authority) == authority


@pytest.mark.parametrize(
    "text",
    ["me:a\nb", "me\0:a", "me:\x7f", "me:\udcff", '"me:secret"', "'me:secret'", " me:secret", "me :secret", "\n"],
)
def test_a_login_that_could_never_pass_is_refused(text: str) -> None:
    """RFC 7617 section 2: no control characters. Docker's env files keep quotes."""
    with pytest.raises(ValueError):
        parsers.LOGIN.parse(text)


def test_the_password_of_a_login_may_hold_what_it_likes() -> None:
    assert parsers.LOGIN.parse("me: \"s:e'c ret' é ") == Login("me", " \"s:e'c ret' é ")


@pytest.mark.parametrize("text", ["value", "value\n", "value\r\n", "value\n\n", "\ufeffvalue", "\ufeffvalue\r\n"])
def test_what_a_file_has_around_a_value_is_no_part_of_it(text: str) -> None:
    assert parsers.cleaned(text) == "value"


def test_spaces_are_a_part_of_a_value() -> None:
    assert parsers.cleaned(" a b \n") == " a b "


REFUSED: list[tuple[Kind[object], str]] = [
    (parsers.NETWORKS, "10.0.0.1/8"),
    (parsers.NETWORKS, "example.com"),
    (parsers.NETWORKS, "10.0.0.0/8,"),
    (parsers.LOGIN, "nobody"),
    (parsers.LOGIN, ":password"),
    (parsers.NAMESPACE, "9lives"),
    (parsers.NAMESPACE, "pog-client"),
    (parsers.COUNT, "0"),
    (parsers.COUNT, "1e3"),
    (parsers.PORT, "65536"),
    (parsers.POSITIVE_SECONDS, "0"),
    (parsers.choice("debug", "info"), "verbose"),
]


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_values_out_of_their_form_are_refused(kind: Kind[object], text: str) -> None:
    with pytest.raises(ValueError):
        kind.parse(text)


def test_a_choice_does_not_mind_case() -> None:
    assert parsers.choice("debug", "info").parse("INFO") == "info"
