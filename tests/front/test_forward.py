"""One plain HTTP request and its answer, rewritten on the way: what goes up, what comes down, what may follow."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import Failure, FailureKind, Refused
from pog.front.forward import Forwarding, split_target
from pog.front.heads import Malformed, read_request, request_buffer
from pog.net.address import Destination

GET = b"GET http://h.example/x?y HTTP/1.1\r\nHost: h.example\r\n\r\n"
UP_GET = b"GET /x?y HTTP/1.1\r\nHost: h.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def forwarding(data: bytes, *, via: bool = False) -> Forwarding:
    received = request_buffer().receive_data(data)
    assert received is not None
    return Forwarding(read_request(received[0]), received[1], via=via)


def request(*fields: str, target: str = "http://h/", method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(*fields: str, status: str = "200 OK", version: str = "1.1", content: bytes = b"") -> bytes:
    return ("\r\n".join([f"HTTP/{version} {status}", *fields]) + "\r\n\r\n").encode("latin-1") + content


def fields_of(head: bytes) -> list[str]:
    """The lines of the one head that these bytes are, without the first."""
    lines = head.decode("latin-1").split("\r\n")
    assert lines[-2:] == ["", ""], head
    return lines[1:-2]


def splits(data: bytes) -> list[list[bytes]]:
    return [[data], [data[i : i + 1] for i in range(len(data))]] + [[data[:i], data[i:]] for i in range(1, len(data))]


# Up: where to, and the head.


@pytest.mark.parametrize(
    ("target", "destination", "host", "path"),
    [
        ("http://h", Destination("h", 80), "h", "/"),
        ("http://h/", Destination("h", 80), "h", "/"),
        ("HTTP://H.example:8080/a/b?c=d", Destination("H.example", 8080), "H.example:8080", "/a/b?c=d"),
        ("http://h:80/", Destination("h", 80), "h:80", "/"),
        ("ws://h/chat", Destination("h", 80), "h", "/chat"),
        ("http://h:/x", Destination("h", 80), "h:", "/x"),
        ("http://h?q=/:@", Destination("h", 80), "h", "/?q=/:@"),
        ("http://[2001:db8::1]/", Destination("2001:db8::1", 80), "[2001:db8::1]", "/"),
        ("http://[::1]:81//x", Destination("::1", 81), "[::1]:81", "//x"),
        ("http://127.0.0.1/http://other/", Destination("127.0.0.1", 80), "127.0.0.1", "/http://other/"),
    ],
)
def test_targets(target: str, destination: Destination, host: str, path: str) -> None:
    assert split_target("GET", target) == (destination, host, path)


def test_a_server_is_asked_about_itself_in_asterisk_form() -> None:
    assert split_target("OPTIONS", "http://h")[2] == "*"
    assert split_target("OPTIONS", "http://h/")[2] == "/"
    assert split_target("OPTIONS", "http://h?x")[2] == "/?x"


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("https://h/", 400, "use CONNECT h:443"),
        ("HTTPS://h:8443/", 400, "use CONNECT h:8443"),
        ("wss://h/", 400, "wss:// is not forwarded: use CONNECT h:443"),
        ("ftp://h/", 501, "ftp:// is not forwarded"),
        ("http:///x", 400, "malformed destination"),
        ("http://:80/", 400, "malformed destination"),
        ("http://h:0/", 400, "malformed destination"),
        ("http://h:70000/", 400, "malformed destination"),
        ("http://h:8_0/", 400, "malformed destination"),
        ("http://user:pass@h/", 400, "user information"),
        ("http://2001:db8::1/", 400, "malformed destination"),
        ("http://[::1/", 400, "malformed destination"),
        ("http://h%00/", 400, "malformed destination"),
        ("http://h/#fragment", 400, "malformed request target"),
        ("h:80", 400, "malformed request target"),
        ("/x", 400, "malformed request target"),
    ],
)
def test_targets_that_are_refused(target: str, status: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        split_target("GET", target)
    assert caught.value.status == status
    assert "pass" not in str(caught.value)


def test_origin_form_goes_up_with_host_from_the_target() -> None:
    data = b"GET http://a.example:81/x HTTP/1.1\r\nAccept: */*\r\nHOST: other.example\r\nX-Case: Kept\r\n\r\n"
    exchange = forwarding(data)
    assert exchange.destination == Destination("a.example", 81)
    assert exchange.start() == b"GET /x HTTP/1.1\r\nHost: a.example:81\r\nAccept: */*\r\nX-Case: Kept\r\n\r\n"
    assert exchange.request_complete


def test_fields_of_one_connection_do_not_go_up() -> None:
    head = forwarding(
        request(
            *("Connection: close, X-Mine", "connection: x-other", "X-Mine: 1", "X-Other: 2", "Keep-Alive: 300"),
            *("Proxy-Connection: keep-alive", "Proxy-Authorization: Basic c2VjcmV0", "Proxy-Foo: bar", "TE: gzip"),
            *("Upgrade: foo", "Accept: text/*", "Cookie: a=b", "Authorization: Basic eDp5", "Forwarded: for=me"),
        )
    ).start()
    assert fields_of(head) == [
        *("Host: h", "Accept: text/*", "Cookie: a=b", "Authorization: Basic eDp5", "Forwarded: for=me"),
    ]


def test_naming_the_framing_in_connection_changes_nothing_about_it() -> None:
    head = request("Connection: content-length, host, transfer-encoding", "Content-Length: 5", method="POST")
    exchange = forwarding(head + b"hello")
    assert exchange.start() == b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"


def test_nothing_tells_of_the_proxy_unless_it_is_asked_for() -> None:
    exchange = forwarding(GET)
    assert b"via" not in (exchange.start() + exchange.tunnel_data(OK)).lower()
    exchange = forwarding(request("Via: 1.1 mine", version="1.0"), via=True)
    assert fields_of(exchange.start()) == ["Host: h", "Via: 1.1 mine", "Via: 1.0 pog"]
    assert fields_of(bytes(exchange.tunnel_data(answer("Content-Length: 0")))) == [
        *("Content-Length: 0", "Connection: close", "Via: 1.1 pog"),
    ]


def test_trailer_fields_are_welcome_when_they_are_to_the_user() -> None:
    assert fields_of(forwarding(request("TE: gzip;q=0.5, Trailers", "Connection: TE")).start()) == [
        *("Host: h", "TE: trailers", "Connection: TE"),
    ]
    assert fields_of(forwarding(request("TE: trailers", version="1.0")).start()) == ["Host: h"]


def test_expectations_go_up_from_a_user_who_knows_them() -> None:
    fields = ("Expect: 100-continue", "Content-Length: 5")
    assert fields_of(forwarding(request(*fields)).start()) == ["Host: h", *fields]
    assert fields_of(forwarding(request(*fields, version="1.0")).start()) == ["Host: h", "Content-Length: 5"]


def test_the_hops_of_a_trace_are_counted() -> None:
    assert fields_of(forwarding(request("Max-Forwards: 3", method="TRACE")).start()) == ["Host: h", "Max-Forwards: 2"]
    for value in ("x", "-1", "1234567890"):
        head = forwarding(request(f"Max-Forwards: {value}", method="OPTIONS")).start()
        assert fields_of(head) == ["Host: h", f"Max-Forwards: {value}"]
    assert fields_of(forwarding(request("Max-Forwards: 3")).start()) == ["Host: h", "Max-Forwards: 3"]


def test_the_number_of_hosts() -> None:
    with pytest.raises(Malformed):
        forwarding(request("Host: h"))
    with pytest.raises(Malformed):
        forwarding(b"GET http://h/ HTTP/1.1\r\n\r\n")
    assert forwarding(b"GET http://h/ HTTP/1.0\r\n\r\n").start() == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


# Up: the content.


def test_a_content_goes_up_as_it_comes_and_what_is_behind_it_stays() -> None:
    exchange = forwarding(request("Content-Length: 12", method="POST") + b"hell")
    assert exchange.start().endswith(b"Content-Length: 12\r\n\r\nhell")
    assert not exchange.request_complete
    piece = b"o wor"
    assert exchange.user_data(piece) is piece
    assert exchange.user_data(b"ld!GET http://next") == b"ld!"
    assert exchange.request_complete
    assert exchange.user_data(b"/ HTTP/1.1\r\n") == b""
    assert exchange.behind == b"GET http://next/ HTTP/1.1\r\n"
    assert exchange.waiting == len(exchange.behind)


def test_chunks_go_up_as_they_were_cut() -> None:
    exchange = forwarding(request("transfer-encoding: Chunked", method="POST") + b"5;x\r\nhel")
    assert exchange.start() == b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhel"
    assert exchange.user_data(b"lo\r\n0\r\nX-Sum: 1\r\n\r\nGET") == b"lo\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert exchange.request_complete
    assert exchange.behind == b"GET"


def test_a_bad_chunk_that_comes_later_ends_the_request() -> None:
    exchange = forwarding(request("Transfer-Encoding: chunked", method="POST"))
    exchange.start()
    with pytest.raises(Refused) as caught:
        exchange.user_data(b"0x5\r\n")
    assert caught.value.failure.kind is FailureKind.BAD_REQUEST


# Down.


def test_an_answer_comes_down_without_the_fields_of_one_connection() -> None:
    exchange = forwarding(GET)
    exchange.start()
    received = answer(
        *("Date: now", "Connection: keep-alive, X-Hop", "Keep-Alive: timeout=5", "X-Hop: 1", "Content-length: 5"),
        *("Proxy-Authenticate: Basic", "Proxy-Connection: x", "Proxy-Authentication-Info: x", "Upgrade: h2c"),
        *("Proxy-Status: cdn", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Latin: \xe9"),
        status="200 Alles gut \xfc",
        content=b"hello",
    )
    assert exchange.tunnel_data(received) == answer(
        *("Date: now", "Proxy-Status: cdn", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Latin: \xe9", "Content-Length: 5"),
        status="200 Alles gut \xfc",
        content=b"hello",
    )
    assert exchange.complete and exchange.tunnel_reusable and exchange.user_reusable


CHUNKED = "Transfer-Encoding: chunked"
CLOSE = "Connection: close"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
# Method, the answer, whether the origin then closes; what comes down, whether the tunnel and the user's connection
# may carry another request.
ANSWERS = [
    ("GET", OK, False, OK, True, True),
    ("GET", answer(CHUNKED, content=CHUNKS), False, answer(CHUNKED, content=CHUNKS), True, True),
    ("GET", answer(content=b"hello"), True, answer(CLOSE, content=b"hello"), False, False),
    ("GET", answer(), True, answer(CLOSE), False, False),
    ("GET", answer("Content-Length: 0"), False, answer("Content-Length: 0"), True, True),
    ("GET", answer("Content-Length: 0", CLOSE), False, answer("Content-Length: 0"), False, True),
    ("GET", answer("Content-Length: 0", version="1.0"), False, answer("Content-Length: 0"), False, True),
    (
        *("GET", answer("Content-Length: 0", "Connection: keep-alive", version="1.0"), False),
        *(answer("Content-Length: 0"), True, True),
    ),
    ("HEAD", answer("Content-Length: 5"), False, answer("Content-Length: 5"), True, True),
    ("HEAD", answer(CHUNKED), False, answer(), True, True),
    ("HEAD", answer(), False, answer(), True, True),
    ("GET", answer(status="204 No Content"), False, answer(status="204 No Content"), True, True),
    ("GET", answer("Content-Length: 5", status="204 No"), False, answer(status="204 No"), True, True),
    (
        "GET",
        answer("Content-Length: 5", status="304 N"),
        False,
        answer("Content-Length: 5", status="304 N"),
        True,
        True,
    ),
    ("GET", answer("E: t", status="304 Not"), False, answer("E: t", status="304 Not"), True, True),
    ("GET", OK + b"HTTP/1.1 200 OK\r\n", False, OK, False, True),
    ("HEAD", OK, False, answer("Content-Length: 5"), False, True),
    (
        *("GET", answer("Upgrade: TLS/1.2", "Connection: upgrade", "Content-Length: 0", status="426 Up"), False),
        *(answer("Content-Length: 0", "Upgrade: TLS/1.2", "Connection: Upgrade", status="426 Up"), True, True),
    ),
    ("GET", b"HTTP/1.1 200\nContent-Length:5\n\nhello", False, OK.replace(b"OK", b""), True, True),
]
EARLY = answer(status="100 Continue") + answer("Link: </s>; rel=preload", status="103 Early Hints")


@pytest.mark.parametrize(("method", "received", "eof", "down", "tunnel", "user"), ANSWERS)
def test_answers_in_every_split(method: str, received: bytes, eof: bool, down: bytes, tunnel: bool, user: bool) -> None:
    for early in (b"", EARLY):
        for pieces in splits(early + received):
            exchange = forwarding(request(method=method))
            exchange.start()
            passed = b"".join(exchange.tunnel_data(piece) for piece in pieces)
            assert exchange.complete is not eof
            if eof:
                passed += exchange.tunnel_eof()
            assert passed == early + down
            assert exchange.complete and exchange.answer_begun
            assert (exchange.tunnel_reusable, exchange.user_reusable) == (tunnel, user)


@pytest.mark.parametrize(
    ("received", "eof", "down"),
    [
        (OK, False, answer("Content-Length: 5", CLOSE, content=b"hello")),
        (answer(CHUNKED, content=CHUNKS), False, answer(CLOSE, content=b"hello")),
        (answer(CHUNKED, content=b"0\r\nX-Sum: 1\r\n\r\n"), False, answer(CLOSE)),
        (answer(content=b"hello"), True, answer(CLOSE, content=b"hello")),
        (answer(status="304 Not"), False, answer(CLOSE, status="304 Not")),
    ],
)
def test_answers_to_a_user_of_http_1_0(received: bytes, eof: bool, down: bytes) -> None:
    for pieces in splits(EARLY + received):
        exchange = forwarding(request("Connection: keep-alive", version="1.0"))
        exchange.start()
        passed = b"".join(exchange.tunnel_data(piece) for piece in pieces)
        if eof:
            passed += exchange.tunnel_eof()
        assert passed == down, "no chunks, no interim answers"
        assert exchange.complete and not exchange.user_reusable
        assert exchange.tunnel_reusable is not eof


@pytest.mark.parametrize("field", ["Connection: close", "Proxy-Connection: Close", "Connection: x, close"])
def test_a_user_who_wants_to_close(field: str) -> None:
    exchange = forwarding(request(field))
    exchange.start()
    assert exchange.tunnel_data(OK) == answer("Content-Length: 5", CLOSE, content=b"hello")
    assert not exchange.user_reusable
    assert exchange.tunnel_reusable


def test_a_large_answer_passes_as_the_same_objects_from_its_first_byte() -> None:
    exchange = forwarding(GET)
    exchange.start()
    assert exchange.tunnel_data(answer("Content-Length: 1000000")) == answer("Content-Length: 1000000")
    piece = bytes(70_000)
    assert exchange.tunnel_data(piece) is piece
    assert not exchange.complete


def test_an_answer_that_comes_before_the_request_is_through() -> None:
    for fields, reusable in (((), True), ((CLOSE,), False)):
        exchange = forwarding(request("Content-Length: 5", method="POST"))
        exchange.start()
        down = exchange.tunnel_data(answer("Content-Length: 0", *fields, status="413 Too Large"))
        assert down == answer("Content-Length: 0", *fields, status="413 Too Large")
        assert exchange.complete is not reusable
        assert exchange.user_reusable is False
        if reusable:
            assert exchange.user_data(b"hello") == b"hello"
            assert exchange.complete and exchange.tunnel_reusable and exchange.user_reusable


def test_the_rest_of_a_request_is_given_up_when_the_origin_closes_behind_its_answer() -> None:
    exchange = forwarding(request("Content-Length: 5", method="POST"))
    exchange.start()
    exchange.tunnel_data(answer("Content-Length: 0"))
    assert not exchange.complete
    assert exchange.tunnel_eof() == b""
    assert exchange.complete and not exchange.user_reusable and not exchange.tunnel_reusable


@pytest.mark.parametrize(
    ("received", "kind"),
    [
        (b"", FailureKind.NO_ANSWER),
        (b"HTTP/1.1 200 O", FailureKind.NO_ANSWER),
        (answer(status="100 Continue"), FailureKind.NO_ANSWER),
        (OK[:-1], FailureKind.BAD_ANSWER),
        (answer(CHUNKED, content=CHUNKS[:-1]), FailureKind.BAD_ANSWER),
    ],
)
def test_an_answer_that_is_cut_short(received: bytes, kind: FailureKind) -> None:
    exchange = forwarding(GET)
    exchange.start()
    if received:
        exchange.tunnel_data(received)
    with pytest.raises(Refused) as caught:
        exchange.tunnel_eof()
    assert caught.value.failure.kind is kind
    assert caught.value.failure.http_status == 502
    assert caught.value.failure.text.startswith("h.example:80 ")
    assert exchange.answer_begun is (kind is FailureKind.BAD_ANSWER)
    assert not exchange.complete


@pytest.mark.parametrize("greeting", [b"S", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2", b"\x16\x03", b"HTTX"])
def test_what_is_no_http_is_known_by_its_first_bytes(greeting: bytes) -> None:
    exchange = forwarding(GET)
    exchange.start()
    with pytest.raises(Refused) as caught:
        exchange.tunnel_data(greeting)
    assert caught.value.failure.kind is FailureKind.BAD_ANSWER


def test_what_comes_down_may_be_views() -> None:
    for received in (OK, answer(CHUNKED, content=CHUNKS), EARLY + OK):
        exchange = forwarding(GET)
        exchange.start()
        assert (
            b"".join(exchange.tunnel_data(memoryview(received[i : i + 7])) for i in range(0, len(received), 7))
            == received
        )
        assert exchange.complete
    exchange = forwarding(GET)
    exchange.start()
    exchange.tunnel_data(answer("Content-Length: 100"))
    piece = memoryview(bytes(50))
    assert exchange.tunnel_data(piece) is piece


# Again.


def test_a_request_may_go_up_again_until_something_of_the_answer_came() -> None:
    exchange = forwarding(request("Content-Length: 5", method="PUT") + b"he")
    first = exchange.start() + exchange.user_data(b"llo")
    assert exchange.may_repeat
    assert exchange.start() == first
    exchange.tunnel_data(b"H")
    assert not exchange.may_repeat


@pytest.mark.parametrize(("method", "may"), [("GET", True), ("DELETE", True), ("POST", False), ("PATCH", False)])
def test_what_may_go_up_again(method: str, may: bool) -> None:
    exchange = forwarding(request("Content-Length: 1", method=method))
    exchange.start()
    exchange.user_data(b"x")
    assert exchange.may_repeat is may


def test_a_long_request_is_not_kept() -> None:
    for first in (0, 70_000):
        exchange = forwarding(request("Content-Length: 140000", method="PUT") + bytes(first))
        assert exchange.start().endswith(b"\r\n\r\n" + bytes(first))
        exchange.user_data(bytes(70_000))
        assert not exchange.may_repeat


# Upgrade.

WEBSOCKET = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
SWITCHED = answer("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: y", status="101 Switching")
DOWN_SWITCHED = answer("Sec-WebSocket-Accept: y", "Upgrade: websocket", "Connection: Upgrade", status="101 Switching")


def test_an_upgrade_passes_both_ways() -> None:
    for pieces in splits(SWITCHED + b"frames"):
        exchange = forwarding(request(*WEBSOCKET) + b"early ")
        assert fields_of(exchange.start()) == [
            *("Host: h", "Sec-WebSocket-Key: x", "Upgrade: websocket", "Connection: Upgrade"),
        ]
        assert exchange.user_data(b"frames") == b"", "not before the protocol has changed"
        assert b"".join(exchange.tunnel_data(piece) for piece in pieces) == DOWN_SWITCHED + b"frames"
        assert exchange.complete and exchange.passes_through
        assert exchange.user_data(b"") == b"early frames"
        assert exchange.user_data(b"more") == b"more"
        assert exchange.tunnel_data(b"HTTP") == b"HTTP"


def test_an_upgrade_that_is_declined_is_an_ordinary_answer() -> None:
    exchange = forwarding(request(*WEBSOCKET) + GET)
    exchange.start()
    assert exchange.tunnel_data(OK) == OK
    assert exchange.complete and not exchange.passes_through and exchange.tunnel_reusable
    assert exchange.behind == GET


@pytest.mark.parametrize(
    "head",
    [
        request(),
        request("Upgrade: websocket"),
        request("Connection: Upgrade", "Upgrade: websocket", version="1.0"),
        request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"),
        request(*WEBSOCKET, "Content-Length: 5"),
    ],
)
def test_a_change_that_nobody_asked_for(head: bytes) -> None:
    exchange = forwarding(head)
    exchange.start()
    with pytest.raises(Refused) as caught:
        exchange.tunnel_data(SWITCHED)
    assert caught.value.failure.kind is FailureKind.BAD_ANSWER


def test_http_2_in_clear_is_not_asked_for() -> None:
    head = request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x", "Accept: a")
    assert fields_of(forwarding(head).start()) == ["Host: h", "Accept: a"]


# Smuggling: refused, and not a byte of it passes.

CHUNKED_SIZES = [
    *(b"0x5\r\nhello\r\n", b"5_\r\nhello\r\n", b"+5\r\nhello\r\n", b"-5\r\nhello\r\n", b"5\nhello\r\n"),
    *(b"5;a\nhello\r\n", b"5\r\nhello\n", b"5\r\nhellohello\r\n", b" 5\r\nhello\r\n"),
]
FRAMINGS = {
    "both": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "two lengths in one": ("Content-Length: 5, 6",),
    "signed": ("Content-Length: +5",),
    "negative": ("Content-Length: -5",),
    "hexadecimal": ("Content-Length: 0x5",),
    "underscore": ("Content-Length: 1_0",),
    "empty": ("Content-Length:",),
    "not ASCII": ("Content-Length: \xb2",),
    "too large": ("Content-Length: 9223372036854775808",),
    "another coding": ("Transfer-Encoding: gzip, chunked",),
    "identity": ("Transfer-Encoding: identity",),
    "chunked twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "not quite chunked": ("Transfer-Encoding: xchunked",),
    "quoted": ('Transfer-Encoding: "chunked"',),
    "empty coding": ("Transfer-Encoding:",),
    "vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "space before the colon": ("Transfer-Encoding : chunked",),
    "obs-fold": ("X: y\r\n Transfer-Encoding: chunked",),
    "bare CR": ("X: y\rTransfer-Encoding: chunked",),
    "NUL": ("X: y\x00",),
}


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_requests_that_could_be_two(fields: tuple[str, ...]) -> None:
    with pytest.raises(Malformed) as caught:
        forwarding(request(*fields, method="POST") + b"hello")
    assert caught.value.status in (400, 501)


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_answers_that_could_be_two(fields: tuple[str, ...]) -> None:
    for status in ("200 OK", "304 Not Modified", "103 Early Hints"):
        exchange = forwarding(GET)
        exchange.start()
        with pytest.raises(Refused) as caught:
            exchange.tunnel_data(answer(*fields, status=status, content=b"hello"))
        assert caught.value.failure.kind is FailureKind.BAD_ANSWER
        assert not exchange.answer_begun


def test_chunked_is_not_of_http_1_0() -> None:
    with pytest.raises(Malformed):
        forwarding(request(CHUNKED, method="POST", version="1.0") + CHUNKS)
    exchange = forwarding(GET)
    exchange.start()
    with pytest.raises(Refused):
        exchange.tunnel_data(answer(CHUNKED, version="1.0", content=CHUNKS))


@pytest.mark.parametrize("content", CHUNKED_SIZES)
def test_chunks_that_could_end_elsewhere(content: bytes) -> None:
    with pytest.raises(Malformed):
        forwarding(request(CHUNKED, method="POST") + content)
    exchange = forwarding(request(CHUNKED, method="POST"))
    passed = exchange.start()
    with pytest.raises(Refused):
        for i in range(len(content)):
            passed += exchange.user_data(content[i : i + 1])
    exchange = forwarding(GET)
    exchange.start()
    exchange.tunnel_data(answer(CHUNKED))
    with pytest.raises(Refused) as caught:
        exchange.tunnel_data(content)
    assert caught.value.failure.kind is FailureKind.BAD_ANSWER


def test_several_lengths_that_say_the_same_are_one() -> None:
    exchange = forwarding(request("Content-Length: 5", "Content-Length: 5, 5", method="POST") + b"hello")
    assert exchange.start() == b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"


# Against h11.

TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=6)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=8)
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=4)
CONTENTS = st.lists(st.binary(min_size=1, max_size=40), max_size=4)
LIMIT = 1 << 20


def cut(data: bytes, draw: st.DataObject) -> list[bytes]:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    bounds = [0, *cuts, len(data)]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def framed(chunks: list[bytes], chunked: bool) -> tuple[str, bytes]:
    if chunked:
        return CHUNKED, b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return f"Content-Length: {sum(map(len, chunks))}", b"".join(chunks)


def up(pieces: list[bytes]) -> tuple[Forwarding | None, bytes]:
    """All that goes up of these pieces; no exchange when the request was refused."""
    buffer, exchange, sent = request_buffer(), None, b""
    try:
        for piece in pieces:
            if exchange is not None:
                sent += exchange.user_data(piece)
            elif (received := buffer.receive_data(piece)) is not None:
                exchange = Forwarding(read_request(received[0]), received[1], via=False)
                sent = exchange.start()
    except (Malformed, Refused):
        return None, sent
    return exchange, sent


def read(ours: h11.Connection, data: bytes) -> tuple[h11.Request | h11.Response, bytes]:
    """One whole message, and nothing behind it."""
    ours.receive_data(data)
    head = ours.next_event()
    assert isinstance(head, (h11.Request, h11.Response))
    content = b""
    while isinstance(event := ours.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert ours.trailing_data[0] == b""
    return head, content


@given(TOKENS, FIELDS, CONTENTS, st.booleans(), st.data())
def test_h11_reads_what_went_up(
    method: str, fields: list[tuple[str, str]], chunks: list[bytes], chunked: bool, draw: st.DataObject
) -> None:
    framing, content = framed(chunks, chunked)
    lines = [f"{name}:{value}" for name, value in fields]
    data = request(*lines, framing, method=method, target="http://h/p") + content
    exchange, sent = up(cut(data + GET, draw))
    assert exchange is not None
    assert exchange.request_complete and exchange.behind == GET
    head, read_content = read(h11.Connection(h11.SERVER, LIMIT), sent)
    assert isinstance(head, h11.Request)
    assert (head.method, head.target, read_content) == (method.encode(), b"/p", b"".join(chunks))
    kept = [(name.lower().encode(), value.strip(" \t").encode("latin-1")) for name, value in fields]
    name, _, value = framing.lower().partition(": ")
    assert list(head.headers) == [(b"host", b"h"), *kept, (name.encode(), value.encode())]


@given(FIELDS, CONTENTS, st.sampled_from(["length", "chunked", "end"]), st.data())
def test_h11_reads_what_came_down(
    fields: list[tuple[str, str]], chunks: list[bytes], how: str, draw: st.DataObject
) -> None:
    framing, content = framed(chunks, how == "chunked")
    if how == "end":
        framing = "X: y"
    received = answer(*(f"{name}:{value}" for name, value in fields), framing, content=content)
    exchange = forwarding(GET)
    exchange.start()
    down = b"".join(exchange.tunnel_data(piece) for piece in cut(received, draw) if piece)
    client = h11.Connection(h11.CLIENT, LIMIT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    if how == "end":
        exchange.tunnel_eof()
        client.receive_data(down)
        head, read_content = client.next_event(), b""
        client.receive_data(b"")
        while isinstance(event := client.next_event(), h11.Data):
            read_content += event.data
        assert isinstance(event, h11.EndOfMessage)
    else:
        head, read_content = read(client, down)
    assert exchange.complete
    assert isinstance(head, h11.Response)
    assert read_content == b"".join(chunks)
    kept = [(name.lower().encode(), value.strip(" \t").encode("latin-1")) for name, value in fields]
    assert list(head.headers)[: len(kept)] == kept


PARTS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\x00", b"Content-Length: 5\r\n", b"content-length: 3\r\n"]
    + [b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : x\r\n", b"Connection: close\r\n", b"X: y\r\n", b"5"]
    + [b"\r\n\r\n", b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0x5\r\n", b"Connection: content-length\r\n"]
)


@given(st.lists(PARTS | st.binary(max_size=3), max_size=10), st.data())
def test_whatever_went_up_is_one_request_to_h11(parts: list[bytes], draw: st.DataObject) -> None:
    data = b"POST http://h/ HTTP/1.1\r\nHost: h\r\n" + b"".join(parts)
    exchange, sent = up([data])
    again, sent_again = up(cut(data, draw))
    assert (exchange is None) == (again is None)
    if exchange is None or again is None:
        return
    assert (sent_again, again.behind) == (sent, exchange.behind)
    server = h11.Connection(h11.SERVER, LIMIT)
    if exchange.request_complete:
        read(server, sent)
    else:
        server.receive_data(sent)
        assert isinstance(server.next_event(), h11.Request)
        while isinstance(event := server.next_event(), h11.Data):
            pass
        assert event is h11.NEED_DATA


@given(st.lists(PARTS | st.binary(max_size=3), max_size=10), st.data())
def test_any_answer_in_any_split(parts: list[bytes], draw: st.DataObject) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"".join(parts)

    def down(pieces: list[bytes]) -> tuple[bytes, bool] | Failure:
        exchange = forwarding(GET)
        exchange.start()
        try:
            passed = b"".join(exchange.tunnel_data(piece) for piece in pieces if piece)
        except Refused as refused:
            return refused.failure
        return passed, exchange.complete

    whole = down([data])
    assert down(cut(data, draw)) == whole
    if not isinstance(whole, Failure) and b"\r\n\r\n" in whole[0]:
        client = h11.Connection(h11.CLIENT, LIMIT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(whole[0])
        assert isinstance(client.next_event(), h11.Response)
        while isinstance(event := client.next_event(), h11.Data):
            pass
        assert isinstance(event, h11.EndOfMessage) == whole[1]
