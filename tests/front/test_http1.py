"""What a user's program asks for by HTTP/1, one after another: grammar, limits, every splitting; our answers."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import Failure, FailureKind
from pog.front.base import NEED_MORE, Exchange, FrontOptions, Outcome, PageRequest, TunnelWanted
from pog.front.heads import MAX_HEAD_BYTES
from pog.front.http1 import ESTABLISHED, HttpFront, answer, error_answer, field_text
from pog.net.address import parse_destination

OPTIONS = FrontOptions()
CONNECT = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"


def feed(*chunks: bytes) -> Outcome:
    """The first outcome that is not NEED_MORE; chunks after it go unread, as in the handler."""
    head = HttpFront(OPTIONS)
    outcome: Outcome = NEED_MORE
    for chunk in chunks:
        outcome = head.receive_data(chunk)
        if outcome is not NEED_MORE:
            break
    return outcome


def connect_line(host_port: str) -> bytes:
    return f"CONNECT {host_port} HTTP/1.1\r\n\r\n".encode()


@pytest.mark.parametrize(
    "host_port", ["example.com:443", "127.0.0.1:80", "[2001:db8::1]:8443", "under_score.local:1", "a.:65535"]
)
def test_connect_in_every_form_of_host(host_port: str) -> None:
    assert feed(connect_line(host_port)) == TunnelWanted(parse_destination(host_port))


@pytest.mark.parametrize(
    "host_port",
    [
        *("example.com", "example.com:", ":443", "example.com:0", "example.com:65536", "example.com:+1", "a:4_4"),
        *("user@example.com:443", "user:pass@example.com:443", "2001:db8::1:443", "[2001:db8::1]", "[::g]:1", "[]:1"),
        *("http://example.com:443", "example.com:443/path", "a%00b:1", "*", "/", "exa\tmple:1", "exa\x00mple:1"),
    ],
)
def test_connect_refuses_what_is_not_a_host_with_a_port(host_port: str) -> None:
    outcome = feed(connect_line(host_port))
    assert isinstance(outcome, Failure)
    assert outcome.http_status == 400


def test_connect_takes_what_it_needs_of_the_head() -> None:
    data = (
        b"CONNECT h:1 HTTP/1.1\r\nproxy-AUTHORIZATION:\t Basic one \r\nProxy-Authorization: Basic two\r\n"
        b"User-Agent: curl/8\r\nX-Latin: \xe9\r\n\r\n\x16\x03\x01early\r\n\r\n"
    )
    assert feed(data) == TunnelWanted(parse_destination("h:1"), "Basic one", b"\x16\x03\x01early\r\n\r\n")


@pytest.mark.parametrize(
    "data", [b"\r\n\r\n" + CONNECT, CONNECT.replace(b"\r\n", b"\n"), CONNECT.replace(b"1.1", b"1.0")]
)
def test_connect_by_older_and_looser_programs(data: bytes) -> None:
    assert feed(data) == TunnelWanted(parse_destination("example.com:443"))


def test_other_requests_ask_for_pages() -> None:
    outcome = feed(b"GET /metrics?x=1 HTTP/1.0\r\nAccept: a\r\naccept: b\r\n\r\n")
    assert isinstance(outcome, PageRequest)
    assert (outcome.method, outcome.target, outcome.http_version) == ("GET", "/metrics?x=1", "1.0")
    assert outcome.values("accept") == "a,b"
    assert outcome.values("host") == ""
    assert feed(b"OPTIONS * HTTP/1.1\r\n\r\n") == PageRequest("OPTIONS", "*", (), "1.1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET http://example.com/ HTTP/1.1\r\n\r\n", 400),
        (b"GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", 400),
        (b"POST ftp://example.com/ HTTP/1.1\r\n\r\n", 501),
        (b"GET example.com/ HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/11.1\r\n\r\n", 400),
        (b"GET / http/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nname : value\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: value\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname: a\x00b\r\n\r\n", 400),
    ],
)
def test_refused_with_status(data: bytes, status: int) -> None:
    outcome = feed(data)
    assert isinstance(outcome, Failure)
    assert outcome.http_status == status


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00\x01", b"\x05\x01\x00", b"\x04\x01\x00P"])
def test_what_is_no_http_is_answered_at_its_first_byte(first: bytes) -> None:
    assert feed(first[:1]) == Failure(FailureKind.BAD_REQUEST, "this is not an HTTP/1 request", 400)


def padded(head_bytes: int) -> bytes:
    """A request whose head has exactly this number of bytes."""
    start, end = b"CONNECT h:1 HTTP/1.1\r\nX-Pad: ", b"\r\n\r\n"
    return start + b"x" * (head_bytes - len(start) - len(end)) + end


def test_the_limit_of_the_head() -> None:
    assert isinstance(feed(padded(MAX_HEAD_BYTES)), TunnelWanted)
    assert isinstance(feed(CONNECT + bytes(2 * MAX_HEAD_BYTES)), TunnelWanted), "early bytes do not count"
    for data in (padded(MAX_HEAD_BYTES + 1), b"CONNECT " + b"x" * MAX_HEAD_BYTES, padded(3 * MAX_HEAD_BYTES)):
        outcome = feed(data)
        assert isinstance(outcome, Failure)
        assert outcome.http_status == 431
        assert feed(data[:1000], data[1000:]) == outcome


SAMPLES = [
    CONNECT + b"\x16early",
    CONNECT.replace(b"\r\n", b"\n") + b"\n\n",
    b"\r\n" + CONNECT,
    b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nname : value\r\n\r\n",
    b"CONNECT h HTTP/1.1\r\n\r\n",
    b"bad line\r\n\r\n",
]


def without_early(outcome: Outcome) -> Outcome:
    if isinstance(outcome, TunnelWanted):
        return TunnelWanted(outcome.destination, outcome.authorization, b"forwarded" if outcome.exchange else b"")
    return outcome


@pytest.mark.parametrize("data", SAMPLES)
def test_every_split_gives_the_same(data: bytes) -> None:
    whole = feed(data)
    assert whole is not NEED_MORE
    assert without_early(feed(*(data[i : i + 1] for i in range(len(data))))) == without_early(whole)
    for cut in range(len(data)):
        parts = feed(data[:cut], data[cut:])
        assert without_early(parts) == without_early(whole)
        if isinstance(whole, TunnelWanted) and isinstance(parts, TunnelWanted) and cut < len(CONNECT) // 2:
            assert parts.early == whole.early


PIECES = st.sampled_from(
    [b"CONNECT", b"GET", b" ", b"h:1", b"[::1]:1", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n"]
    + [b"Host: h", b"A:b", b"A", b":", b"\t", b"\x00", b"\xff", b"http://", b"*", b"\x16"]
)


@given(st.lists(PIECES | st.binary(max_size=3), max_size=14), st.data())
def test_any_bytes_in_any_splitting(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    bounds = [0, *cuts, len(whole)]
    split = [whole[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    assert without_early(feed(*split)) == without_early(feed(whole))


GET = b"GET http://h/1 HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic x\r\n\r\n"
POST = b"POST http://h:81/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def asked(outcome: Outcome) -> Exchange:
    assert isinstance(outcome, TunnelWanted)
    assert outcome.exchange is not None
    assert outcome.early == b""
    return outcome.exchange


def test_one_request_after_another() -> None:
    front = HttpFront(OPTIONS)
    outcome = front.receive_data(GET + POST[:-3])
    assert outcome == TunnelWanted(parse_destination("h:80"), "Basic x", b"", asked(outcome))
    assert front.name == "forward"
    exchange = asked(outcome)
    assert exchange.start() == b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
    assert exchange.user_data(POST[-3:] + GET + CONNECT) == b""
    assert exchange.tunnel_data(OK) == OK
    assert exchange.complete and front.reusable
    outcome = front.receive_data(b"")
    assert isinstance(outcome, TunnelWanted)
    assert outcome.destination == parse_destination("h:81")
    exchange = asked(outcome)
    assert exchange.start().endswith(b"\r\n\r\nhello")
    assert exchange.tunnel_data(OK) == OK
    assert exchange.complete and front.reusable
    exchange = asked(front.receive_data(b"early"))
    exchange.start()
    exchange.tunnel_data(OK)
    outcome = front.receive_data(b" and more")
    assert outcome == TunnelWanted(parse_destination("example.com:443"), None, b"early and more")
    assert front.granted() == ESTABLISHED
    assert (front.name, front.reusable) == ("http", False)


def test_the_next_request_may_come_later() -> None:
    front = HttpFront(OPTIONS)
    exchange = asked(front.receive_data(GET))
    exchange.start()
    exchange.user_data(b"\r\n\r\nGE")
    exchange.tunnel_data(OK)
    assert front.receive_data(b"") is NEED_MORE
    assert front.begun
    assert isinstance(front.receive_data(GET[2:]), TunnelWanted)
    assert not front.begun


FAILURE = Failure(FailureKind.REFUSED, "no")


@pytest.mark.parametrize(
    ("request_bytes", "reusable"),
    [
        (GET, True),
        (POST, True),
        (POST[:-1], False),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (GET.replace(b"1.1", b"1.0"), False),
        (CONNECT, False),
    ],
)
def test_what_may_follow_a_refusal(request_bytes: bytes, reusable: bool) -> None:
    front = HttpFront(OPTIONS)
    front.receive_data(request_bytes)
    response, body = parsed(front.refused(FAILURE), "GET")
    assert response.status_code == 502
    assert body == b"no\n"
    assert (dict(response.headers).get(b"connection") != b"close") == reusable == front.reusable
    if reusable:
        assert isinstance(front.receive_data(GET), TunnelWanted)


def test_a_refusal_of_a_head_request_has_no_content() -> None:
    front = HttpFront(OPTIONS)
    front.receive_data(GET.replace(b"GET", b"HEAD"))
    assert front.refused(FAILURE).endswith(b"\r\n\r\n")


def test_nothing_follows_a_bad_request() -> None:
    front = HttpFront(OPTIONS)
    failure = front.receive_data(GET.replace(b"Host:", b"Host :"))
    assert isinstance(failure, Failure)
    assert not front.reusable
    assert b"Connection: close" in front.refused(failure)


def test_who_is_asked_by_the_number_of_hops_answers() -> None:
    for method in ("OPTIONS", "TRACE"):
        data = f"{method} http://h/ HTTP/1.1\r\nHost: h\r\nMax-Forwards: ".encode()
        assert isinstance(feed(data + b"0\r\n\r\n"), PageRequest)
        assert isinstance(feed(data + b"1\r\n\r\n"), TunnelWanted)
    assert isinstance(feed(GET.replace(b"\r\n\r\n", b"\r\nMax-Forwards: 0\r\n\r\n")), TunnelWanted)


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=6)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=8)


@given(TOKENS, st.text("abc/:.@?%[]", max_size=8), st.lists(st.tuples(TOKENS, VALUES), max_size=3))
def test_what_is_taken_h11_takes_the_same_way(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    lines = [f"{method} /{target} HTTP/1.1", "Host: h", *(f"{name}:{value}" for name, value in headers)]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    ours = feed(head)
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(head)
    try:
        event = theirs.next_event()
    except h11.RemoteProtocolError:
        return  # h11 judges Content-Length and the number of Host fields of any request.
    assert isinstance(event, h11.Request)
    assert isinstance(ours, PageRequest)
    assert ours.method.encode() == event.method
    assert ours.target.encode() == event.target
    assert [(name.encode(), value.encode("latin-1")) for name, value in ours.headers] == list(event.headers)


def parsed(data: bytes, method: str) -> tuple[h11.Response, bytes]:
    """Reads an answer as a client does that sent a request with this method."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="h:1", headers=[("Host", "h:1")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    return response, body


def test_the_200_has_no_framing_of_a_body() -> None:
    response, _ = parsed(ESTABLISHED, "CONNECT")
    assert (response.status_code, list(response.headers)) == (200, [])


def test_an_error_answer_says_what_is_wrong_three_times() -> None:
    response, body = parsed(error_answer(Failure(FailureKind.DNS, 'no "route"\\')), "CONNECT")
    headers = dict(response.headers)
    assert (response.status_code, response.reason) == (502, b"Bad Gateway")
    assert headers[b"x-proxy-over-grpc-error"] == b'no "route"\\'
    assert headers[b"proxy-status"] == b'pog; error=dns_error; details="no \\"route\\"\\\\"'
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"connection"] == b"close"
    assert b"proxy-authenticate" not in headers
    assert body == b'no "route"\\\n'


def test_the_challenge() -> None:
    response, _ = parsed(error_answer(Failure(FailureKind.CREDENTIALS, "who?")), "CONNECT")
    assert dict(response.headers)[b"proxy-authenticate"] == b'Basic realm="CLIENT_AUTH_* list", charset="UTF-8"'


def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    response, body = parsed(answer(200, "text/plain", b"12345", head_only=True), "HEAD")
    assert dict(response.headers)[b"content-length"] == b"5"
    assert body == b""
    assert answer(200, "text/plain", b"12345", head_only=True).endswith(b"\r\n\r\n")


@given(st.text(), st.sampled_from(FailureKind), st.integers(100, 999))
def test_no_error_text_gets_out_of_its_field(text: str, kind: FailureKind, status: int) -> None:
    head, _, body = error_answer(Failure(kind, text, status)).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert len(lines) == 7 + (status == 407)
    assert all(0x20 <= byte < 0x7F for line in lines for byte in line)
    assert body == (text + "\n").encode("utf-8", "replace")
    assert len(field_text(text)) <= 1000
