"""What orchestrators and people with grpcurl or curl expect of the server's port: health, reflection, Connect."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import h2.connection
import h2.events
import pytest
from grpclib.const import Status

from pog.http2 import frames
from tests.helpers import h2c, pog
from tests.helpers.items import item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.process import Program
from tests.helpers.user import send_head
from tests.http2 import factory

if TYPE_CHECKING:
    from collections.abc import Callable

SERVED = {"HTTPProxy", "healthcheck.Healthcheck", "gstacks.GoroutineStacks", "grpc.health.v1.Health"}
PEER = [sys.executable, "-m", "tests.helpers.grpcio_peer"]


def ask(command: str, end: pog.End, what: str, login: str = "") -> list[str]:
    """The lines that grpcio's client prints."""
    program = Program([*PEER, command, end.host_port, what, login])
    assert program.wait() == 0, program.output()
    return program.stdout


@pytest.mark.parametrize("service", ["", *sorted(SERVED - {"grpc.health.v1.Health"})])
def test_check(shared_server: pog.End, service: str) -> None:
    assert ask("check", shared_server, service) == ["SERVING"]


def test_check_of_a_service_that_is_not_there(shared_server: pog.End) -> None:
    assert ask("check", shared_server, "Nobody") == ["error NOT_FOUND"]


WAYS = [
    pytest.param(pog.server, id="pog-server"),
    # Hypercorn's own engine tells an app nothing of the end before it is over.
    pytest.param(pog.hypercorn, id="hypercorn", marks=pog.engine_only),
]


@pytest.mark.parametrize("start", WAYS)
@pytest.mark.parametrize("service", ["", "HTTPProxy", "Nobody"])
def test_watchers_are_told_the_end_and_do_not_delay_it(start: Callable[..., pog.End], service: str) -> None:
    end = start({"DRAIN_TIMEOUT": "60"})
    with end.program:
        watcher = Program([*PEER, "watch", end.host_port, service])
        watcher.wait_line("^SERV")
        end.program.send_signal(signal.SIGTERM)
        assert watcher.wait() == 0
        states = ["SERVICE_UNKNOWN"] if service == "Nobody" else ["SERVING", "NOT_SERVING"]
        assert watcher.stdout == [*states, "error UNAVAILABLE"]
        assert end.program.wait(5) == 0, end.program.output()
        end.program.check_output()


@LATE_DATA
def test_health_is_for_everybody_and_the_rest_is_not() -> None:
    end = pog.server({"POG_AUTH_A": item("a", "a")})
    with end.program:
        assert ask("check", end, "HTTPProxy") == ["SERVING"]
        for version in ("v1", "v1alpha"):
            assert ask("list", end, version) == ["error UNAUTHENTICATED"]
            assert set(ask("list", end, version, "a:a")) >= SERVED
        assert ask("call", end, "healthcheck.Healthcheck/Invoke", "a:a")[0].startswith("data: ")
        url = f"http://{end.host_port}/healthcheck.Healthcheck/Invoke"
        status, fields, _ = curl(url, "--http1.1", *JSON)
        assert (status, fields["www-authenticate"]) == (401, 'Basic realm="pog", charset="UTF-8"')
        assert curl(url, "--http1.1", *JSON, "--user", "a:b")[0] == 401
        assert curl(url, "--http1.1", *JSON, "--user", "a:a")[0] == 200
        assert curl(f"http://{end.host_port}/grpc.health.v1.Health/Check", "--http1.1", *JSON)[0] == 200


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_every_service(shared_server: pog.End, version: str) -> None:
    assert set(ask("list", shared_server, version)) == SERVED


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("healthcheck.Healthcheck/Invoke", "data: "),
        ("gstacks.GoroutineStacks/Invoke", "data: "),
        ("grpc.health.v1.Health/Check", "status: SERVING"),
    ],
)
def test_every_unary_method_can_be_called_by_reflection_alone(shared_server: pog.End, method: str, answer: str) -> None:
    assert ask("call", shared_server, method)[0].startswith(answer)


@pytest.mark.parametrize("symbol", ["HTTPProxy", "HTTPProxy.Run", "Packet", "grpc.health.v1.Health.Check"])
def test_reflection_finds_services_methods_and_messages(shared_server: pog.End, symbol: str) -> None:
    """`grpcurl describe HTTPProxy.Run` asks for the method by its name."""
    assert ask("file", shared_server, symbol)[0].endswith("health.proto" if "health" in symbol else "grpcproxy.proto")
    assert ask("file", shared_server, symbol + "x") == ["not found"]


GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
CHECK = "/grpc.health.v1.Health/Check"
EMPTY = bytes(5)


@LATE_DATA
@pytest.mark.parametrize(
    ("path", "more", "content", "status", "text"),
    [
        ("/nobody.Knows/It", (), EMPTY, Status.UNIMPLEMENTED, "unknown method /nobody.Knows/It"),
        ("/" + "x" * 30_000, (), EMPTY, Status.UNIMPLEMENTED, "unknown method /xxx"),
        (CHECK, (("grpc-encoding", "gzip"),), b"\1\0\0\0\1x", Status.UNIMPLEMENTED, "gzip"),
        (CHECK, (("grpc-encoding", "gzip" * 5000),), b"\1\0\0\0\1x", Status.UNIMPLEMENTED, "gzip"),
        (CHECK, (), b"\1\0\0\0\1x", Status.UNIMPLEMENTED, "ompression"),
        (CHECK, (("grpc-timeout", "1n"),), EMPTY, Status.DEADLINE_EXCEEDED, "deadline"),
        (CHECK, (("grpc-timeout", "soon"),), EMPTY, Status.INVALID_ARGUMENT, "grpc-timeout"),
        (CHECK, (("grpc-timeout", "9" * 400 + "m"),), EMPTY, Status.INVALID_ARGUMENT, "grpc-timeout"),
        (CHECK, (("grpc-timeout", "10S"), ("grpc-timeout", "1n")), EMPTY, Status.DEADLINE_EXCEEDED, "deadline"),
        (CHECK, (), b"\0\0\0\0\7abc", Status.INTERNAL, "inside a message"),
        (CHECK, (), b"\0\0\0\0\7", Status.INTERNAL, "inside a message"),
        (CHECK, (), b"\0\0\0\0\5", Status.INTERNAL, "inside a message"),
        (CHECK, (), b"\0\0", Status.INTERNAL, "inside a message"),
    ],
)
def test_a_call_that_cannot_be_served_is_told_why_and_leaves_no_traceback(
    shared_server: pog.End, path: str, more: tuple[tuple[str, str], ...], content: bytes, status: Status, text: str
) -> None:
    """Every answer has a content-type: without one grpc-go takes it for no answer of gRPC at all."""
    answer, _ = h2c.request(shared_server.address, "POST", path, *GRPC, *more, content=content)
    assert (answer[":status"], answer["content-type"].partition("+")[0]) == ("200", "application/grpc")
    assert (answer["grpc-status"], text in answer["grpc-message"]) == (str(status.value), True)
    assert len(answer["grpc-message"]) < 200
    shared_server.program.check_output()


def test_a_page_that_is_not_there_repeats_nothing_of_its_address(shared_server: pog.End) -> None:
    answer, body = h2c.request(shared_server.address, "GET", "/metrics/?" + "x" * 30_000)
    assert (answer[":status"], body) == ("404", b"Not Found")
    assert all(len(value) < 100 for value in answer.values())


def test_many_pages_at_once_leave_others_their_turn(shared_server: pog.End) -> None:
    """What is asked for behind fifty pages of metrics is answered before the last of them."""
    pages = 50
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]
    for number in range(pages + 1):
        path = "/healthz" if number == pages else "/metrics"
        connection.send_headers(2 * number + 1, [*fields, (":path", path)], end_stream=True)
    heads: list[int] = []
    with socket.create_connection(shared_server.address) as sock:
        sock.sendall(connection.data_to_send())
        while len(heads) <= pages:
            for event in connection.receive_data(sock.recv(1 << 16)):
                if isinstance(event, h2.events.ResponseReceived):
                    heads.append(event.stream_id)
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            sock.sendall(connection.data_to_send())
    assert heads.index(2 * pages + 1) < pages // 2


@pog.engine_only
def test_calls_that_are_reset_in_the_moment_they_come_leave_no_traceback(shared_server: pog.End) -> None:
    """Head and reset in one packet: the call is over before anybody could serve it."""
    wire = frames.PREFACE + factory.settings()
    for number, path in enumerate(("/nobody.Knows/It", CHECK, "/HTTPProxy/Run")):
        fields = [(name, path if name == ":path" else value) for name, value in factory.REQUEST]
        wire += factory.headers(2 * number + 1, fields) + factory.rst_stream(2 * number + 1)
    with socket.create_connection(shared_server.address) as sock:
        sock.sendall(wire + frames.ping(b"answered"))
        received = b""
        while b"answered" not in received:
            received += sock.recv(4096)
    assert h2c.request(shared_server.address, "POST", CHECK, *GRPC, content=EMPTY)[0]["grpc-status"] == "0"
    output = shared_server.program.output()
    assert "Traceback" not in output
    assert "Error" not in output


@pog.engine_only
def test_a_call_whose_te_field_was_dropped_on_the_way_is_served(shared_server: pog.End) -> None:
    answer, body = h2c.request(shared_server.address, "POST", CHECK, GRPC[0], content=EMPTY)
    assert (answer["grpc-status"], body) == ("0", bytes((0, 0, 0, 0, 2, 8, 1)))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc+proto",
        "Application/GRPC",
        "application/GRPC+Proto",
        "application/grpc;charset=utf-8",
        "application/grpc+proto; charset=UTF-8",
    ],
)
def test_fronts_may_rewrite_the_content_type_of_a_call(shared_server: pog.End, content_type: str) -> None:
    """RFC 9110 8.3.1: no regard to case, and parameters may follow."""
    fields = (("content-type", content_type), GRPC[1], ("grpc-encoding", "Identity"))
    answer, body = h2c.request(shared_server.address, "POST", CHECK, *fields, content=EMPTY)
    assert (answer[":status"], answer.get("grpc-status"), body) == ("200", "0", bytes((0, 0, 0, 0, 2, 8, 1)))


def test_grpc_web_and_other_forms_of_messages_are_not_served(shared_server: pog.End) -> None:
    for content_type in ("application/grpc-web+proto", "application/grpcx", "application/grpc+json"):
        fields = (("content-type", content_type), GRPC[1])
        assert h2c.request(shared_server.address, "POST", CHECK, *fields, content=EMPTY)[0][":status"] == "415"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://example.com/healthz", 200),
        ("HTTP://example.com:8080/healthz?x=/y", 200),
        ("https://[::1]/healthz", 200),
        ("http://example.com", 200),
        ("http://example.com?x", 200),
        ("http://example.com/nothing", 404),
        ("http:///healthz", 404),
        ("http://user:secret@example.com/healthz", 404),
        ("ftp://example.com/healthz", 404),
    ],
)
def test_a_target_may_be_a_whole_url(shared_server: pog.End, target: str, status: int) -> None:
    """RFC 9112 3.2.2."""
    head = f"GET {target} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    with send_head(shared_server.address, head.encode()) as answer:
        assert answer.status == status
        body = answer.body
    if status == 200 and "healthz" not in target:
        assert "SERVER_ADDR=example.com" in body  # the target's host counts, and not the field's
    assert "secret" not in body


@pog.engine_only
def test_a_whole_url_may_become_a_request_of_http2(shared_server: pog.End) -> None:
    """By Upgrade: h2c."""
    head = (
        "GET http://example.com/healthz HTTP/1.1\r\nHost: other.example\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        "Upgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
    )
    connection = h2.connection.H2Connection()
    connection.initiate_upgrade_connection()
    with send_head(shared_server.address, head.encode()) as answer:
        assert answer.status == 101
        events = connection.receive_data(answer.rest)
        answer.send(connection.data_to_send())
        while not any(isinstance(event, h2.events.StreamEnded) for event in events):
            events += connection.receive_data(answer.receive(1))
    (response,) = [event for event in events if isinstance(event, h2.events.ResponseReceived)]
    assert dict(response.headers or ())[b":status"] == b"200"


def test_a_call_by_connect_may_have_a_whole_url(shared_server: pog.End) -> None:
    head = (
        f"POST http://example.com{CHECK} HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON ; charset=utf-8\r\n"
        "Content-Length: 2\r\n\r\n{}"
    )
    with send_head(shared_server.address, head.encode()) as answer:
        assert (answer.status, answer.body) == (200, '{"status": "SERVING"}')


@LATE_DATA
def test_the_form_of_metrics_is_negotiated(shared_server: pog.End) -> None:
    fields = (("accept", "text/plain;q=0.2"), ("accept", "application/openmetrics-text;q=0.9"))
    assert "# EOF" in h2c.request(shared_server.address, "GET", "/metrics", *fields)[1].decode()
    fields = (("accept", "text/plain;q=0.9"), ("accept", "application/openmetrics-text;q=0.2"))
    assert "# EOF" not in h2c.request(shared_server.address, "GET", "/metrics", *fields)[1].decode()


JSON = ("-d", "{}", "-H", "content-type: application/json")


def curl(url: str, *args: str) -> tuple[int, dict[str, str], bytes]:
    """Status, fields and content."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    done = subprocess.run(["curl", "-sS", "-i", "--noproxy", "*", "-m", "15", *args, url], capture_output=True)
    assert done.returncode == 0, done.stderr
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), fields, content


@pytest.fixture(params=["--http1.1", "--http2-prior-knowledge"])
def version(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


def test_connect_in_json(shared_server: pog.End, version: str) -> None:
    url = f"http://{shared_server.host_port}/healthcheck.Healthcheck/Invoke"
    status, fields, content = curl(url, version, *JSON, "-H", "connect-protocol-version: 1")
    assert (status, fields["content-type"]) == (200, "application/json")
    assert json.loads(json.loads(content)["data"])["app"] == "proxy-over-grpc server"


def test_connect_in_protobuf(shared_server: pog.End, version: str) -> None:
    url = f"http://{shared_server.host_port}/grpc.health.v1.Health/Check"
    form = ("-H", "content-type: application/proto")
    status, fields, content = curl(url, version, "--data-binary", "", *form)
    assert (status, fields["content-type"], content) == (200, "application/proto", b"\x08\x01")
    assert curl(url, version, "--data-binary", "\x0a\x09HTTPProxy", *form)[2] == b"\x08\x01"


TEXT = ("-d", "{}", "-H", "content-type: text/plain")


@pytest.mark.parametrize(
    ("path", "args", "expected"),
    [
        ("grpc.health.v1.Health/Check", ("-d", '{"service":"Nobody"}', *JSON[2:]), (404, "not_found")),
        ("grpc.health.v1.Health/Check", ("-d", '{"service":1}', *JSON[2:]), (400, "invalid_argument")),
        ("grpc.health.v1.Health/Check", ("-d", "", *JSON[2:]), (400, "invalid_argument")),
        *(
            ("grpc.health.v1.Health/Check", ("-d", text, *JSON[2:]), (400, "invalid_argument"))
            for text in ('"abc"', '""', "[]", " [] ", "null", "0")
        ),
        ("grpc.health.v1.Health/Check", ("-d", "[" * 5000, *JSON[2:]), (400, "invalid_argument")),
        (
            "grpc.health.v1.Health/Check",
            ("-d", "\x0a\x09HTTP", "-H", "content-type: application/proto"),
            (400, "invalid_argument"),
        ),
        ("grpc.health.v1.Health/Watch", JSON, (415, "unimplemented")),
        ("HTTPProxy/Run", JSON, (415, "unimplemented")),
        ("healthcheck.Healthcheck/Invoke", TEXT, (415, "unimplemented")),
        ("healthcheck.Healthcheck/Invoke", (*JSON, "-H", "content-encoding: gzip"), (501, "unimplemented")),
        ("healthcheck.Healthcheck/Invoke", (*JSON, "-H", "connect-protocol-version: 2"), (400, "invalid_argument")),
        ("healthcheck.Healthcheck/Invoke", (*JSON, "-H", "connect-timeout-ms: soon"), (400, "invalid_argument")),
        ("healthcheck.Healthcheck/Invoke", (*JSON, "-H", "connect-timeout-ms: 0"), (504, "deadline_exceeded")),
        ("healthcheck.Healthcheck/Invoke", ("-d", "x" * 70_000, *JSON[2:]), (429, "resource_exhausted")),
        ("healthcheck.Healthcheck/Invoke", (), (405, "unimplemented")),
        ("healthcheck.Healthcheck/Walk", JSON, (404, "unimplemented")),
        ("no.Such/Thing", JSON, (404, "unimplemented")),
    ],
)
def test_connect_refuses_in_its_own_words(
    shared_server: pog.End, version: str, path: str, args: tuple[str, ...], expected: tuple[int, str]
) -> None:
    status, fields, content = curl(f"http://{shared_server.host_port}/{path}", version, *args)
    answer = json.loads(content)
    assert (status, answer["code"]) == expected
    assert answer["message"]
    assert fields["content-type"] == "application/json"


def test_a_call_whose_content_does_not_come_ends_at_its_deadline(shared_server: pog.End) -> None:
    head = (
        "POST /healthcheck.Healthcheck/Invoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\nConnect-Timeout-Ms: 300\r\n\r\n{"
    )
    with send_head(shared_server.address, head.encode()) as answer:
        assert answer.status == 504
        assert json.loads(answer.body)["code"] == "deadline_exceeded"


def test_pages_are_where_they_were(shared_server: pog.End, version: str) -> None:
    for path, expected in (("healthz", 200), ("metrics", 200), ("a/b", 404)):
        assert curl(f"http://{shared_server.host_port}/{path}", version)[0] == expected
