"""Which fields are malformed: compared with h2's own checks, whose differences from ours are listed here.

Ours are stricter with what RFC 9113 section 8.3 says of values (a method that is no token, a path that begins with
nothing, a status that is no number), with CONNECT without an authority (8.5), and with :protocol, which we do not offer
(RFC 8441 section 3). They are more lenient with a request that has no authority, and compare Host with :authority as
RFC 3986 section 6.2 has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pog.http2.fields import check_request, check_response, check_sent, check_trailers, content_length, joined_cookies

if TYPE_CHECKING:
    from collections.abc import Callable

Fields = list[tuple[bytes, bytes]]

USUAL: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a:80")]
NAMES = st.sampled_from(
    [b":method", b":scheme", b":path", b":authority", b":status", b":protocol", b":x", b":", b"host", b"te", b"cookie"]
    + [b"connection", b"keep-alive", b"upgrade", b"content-length", b"x", b"X", b"", b"a b", b"a:b", b"\xe4", b"a\0"]
)
VALUES = st.sampled_from(
    [b"", b"GET", b"CONNECT", b"OPTIONS", b"GE T", b"http", b"/", b"*", b"p", b"a", b"A", b"a:80", b"b", b"200", b"ok"]
    + [b"trailers", b"TRAILERS", b"gzip", b"x y", b" x", b"x\t", b"a\nb", b"\0", b"\xe4"]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


def accepts(check: Callable[[Fields], None], fields: Fields) -> bool:
    try:
        check(fields)
    except ProtocolError:
        return False
    return True


def h2_accepts(fields: Fields, *, response: bool = False, trailers: bool = False) -> bool:
    flags = HeaderValidationFlags(
        is_client=response, is_trailer=trailers, is_response_header=response, is_push_promise=False
    )
    try:
        list(validate_headers(fields, flags))
    except ProtocolError as error:
        # Without either, or with both and not the same to the byte.
        return "authority" in str(error) and "Host" in str(error)
    return True


@given(st.integers(0, 4), FIELDS, st.booleans())
@example(4, [], False)
@settings(max_examples=600)
def test_requests(usual: int, odd: Fields, first: bool) -> None:
    fields = odd + USUAL[:usual] if first else USUAL[:usual] + odd
    values = dict(fields)
    if accepts(check_request, fields):
        assert h2_accepts(fields)
    elif h2_accepts(fields):
        method, path = values.get(b":method", b""), values.get(b":path", b"")
        hosts = [value for name, value in fields if name == b"host"]
        assert (
            method in (b"GE T", b"", b"x y", b"\xe4")
            or path[:1] != b"/"
            or b":protocol" in values
            or (hosts and values.get(b":authority") not in (None, hosts[0]))
        )


@given(st.booleans(), FIELDS)
@settings(max_examples=300)
def test_responses(usual: bool, odd: Fields) -> None:
    fields = [(b":status", b"200"), *odd] if usual else odd
    if accepts(check_response, fields):
        assert h2_accepts(fields, response=True)
    elif h2_accepts(fields, response=True):
        assert dict(fields)[b":status"] != b"200" or {b":x", b":protocol"} & dict(fields).keys()


@given(FIELDS)
@settings(max_examples=300)
def test_trailers(fields: Fields) -> None:
    assert accepts(check_trailers, fields) == h2_accepts(fields, trailers=True)


@pytest.mark.parametrize(
    ("values", "length"),
    [([], None), ([b"5"], 5), ([b"0"], 0), ([b"5", b"05"], 5), ([b"9" * 19], 10**19 - 1)],
)
def test_content_length(values: list[bytes], length: int | None) -> None:
    assert content_length([(b"x", b"y"), *((b"content-length", value) for value in values)]) == length


@pytest.mark.parametrize("values", [[b""], [b"-1"], [b"+1"], [b"1 "], [b"1,1"], [b"\xb2"], [b"1", b"2"], [b"9" * 5000]])
def test_what_is_no_content_length(values: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        content_length([(b"content-length", value) for value in values])


def test_cookies_are_joined_again() -> None:
    fields = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
    assert joined_cookies(fields) == [(b"x", b"y"), (b"cookie", b"a=1; b=2")]
    assert joined_cookies(fields[:2]) == fields[:2]


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_what_we_send_is_never_malformed(fields: Fields) -> None:
    """White space around a value is taken off when it is encoded (test_hpack)."""
    texts = [(name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in fields]
    try:
        check_sent(texts)
    except ValueError:
        return
    sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in texts if name[0] != ":"]
    assert accepts(check_trailers, sent)
