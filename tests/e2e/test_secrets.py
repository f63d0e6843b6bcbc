"""No secret ever leaves: a canary goes in by every door, and is looked for in everything that comes out."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import sys
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.helpers import pog, rpc
from tests.helpers.items import expiry, item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, echo
from tests.helpers.process import Program
from tests.helpers.user import Address, basic, connect, get, send_head

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = "canary-of-users"
SERVERS = "canary-of-the-server"
WRONG = "canary-that-is-wrong"
TOKEN = "canary-in-a-token"
CANARY = re.compile("canary", re.IGNORECASE)


def forms(text: str) -> str:
    """The text with everything in it that may be base64 decoded, so that no encoding hides a canary."""
    found = [text]
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", text):
        for start in range(4):
            padded = word[start:] + "=" * (-len(word[start:]) % 4)
            try:
                found.append(base64.b64decode(padded, altchars=b"-_").decode("latin-1"))
            except ValueError:
                continue
    return "\n".join(found)


def check(text: str, *hashes: str) -> None:
    found = CANARY.search(forms(text))
    assert found is None, text
    for each in hashes:
        assert json.loads(each)["hash"] not in text


def test_the_search_finds_what_is_hidden() -> None:
    for text in ("canary", base64.b64encode(b"a:canary").decode(), "x" + basic("user", USERS)):
        assert CANARY.search(forms(text)), text


def raw(address: Address, data: bytes) -> str:
    """All that is said to these bytes."""
    with socket.create_connection(address, 10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        said = b""
        while part := sock.recv(1 << 16):
            said += part
    return said.decode("latin-1")


def from_the_client(client: pog.End, target: str) -> Iterator[str]:
    """Everything that a user may try; what the client says to it."""
    right = {"Proxy-Authorization": basic("user", USERS)}
    for _ in range(2):
        with connect(client.address, target, right) as tunnel:
            assert tunnel.status == 200
            tunnel.send(b"x")
            tunnel.receive(1)
            yield tunnel.head.decode()
    values = [basic("user", WRONG), basic(WRONG, "x"), f"Bearer {TOKEN}", f"Basic {TOKEN}", TOKEN, basic("late", USERS)]
    for value in values:
        with connect(client.address, target, {"Proxy-Authorization": value}) as answer:
            assert answer.status == 407
            yield answer.head.decode() + answer.body
    for path in ("/", "/metrics", f"/metrics?token={TOKEN}", f"/nothing?token={TOKEN}"):
        yield get(client.address, path, {"Authorization": basic("x", WRONG), "Cookie": TOKEN})[1]
    # An absolute form with a password, plain nonsense, and a head that never ends well.
    yield raw(client.address, f"GET http://u:{WRONG}@example.com/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    yield raw(client.address, f"CONNECT {target} HTTP/1.1\r\nX: {TOKEN}\r\n broken\r\n\r\n".encode())
    yield raw(client.address, f"CONNECT {target} HTTP/1.1\r\nX: {TOKEN}{'x' * 70_000}\r\n\r\n".encode())


def from_the_server(server: pog.End) -> Iterator[str]:
    """The same for strangers at the server's port, over gRPC, HTTP/2 and HTTP/1.1."""
    with rpc.channel(server.host_port) as channel:
        for value in (basic("ilya", WRONG), f"Bearer {TOKEN}", TOKEN, "Basic " + TOKEN * 100):
            with pytest.raises(grpc.RpcError) as refused:
                rpc.health(channel, (("authorization", value),))
            yield str(refused.value)
        yield rpc.stacks(channel, (("authorization", basic("ilya", SERVERS)),))
    for path in ("/", "/metrics", "/healthz", f"/nothing?token={TOKEN}", "/healthcheck.Healthcheck/Invoke"):
        connection = http.client.HTTPConnection(*server.address, timeout=10)
        connection.request("POST" if "Invoke" in path else "GET", path, "{}", {"Authorization": basic("x", WRONG)})
        yield connection.getresponse().read().decode()
        connection.close()
    head = f"POST /HTTPProxy/Run HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('x', WRONG)}\r\n\r\n"
    with send_head(server.address, head.encode()) as answer:
        yield answer.head.decode()


@LATE_DATA
@pytest.mark.parametrize("style", ["line", "json"])
def test_both_ends_at_their_most_talkative(style: str, origins: Origins) -> None:
    talkative = {"LOG_LEVEL": "debug", "LOG_FORMAT": style, "PYTHONASYNCIODEBUG": "1"}
    of_server, of_users, of_late = item("ilya", SERVERS), item("user", USERS), item("late", USERS, expiry(-1))
    server = pog.server({"POG_AUTH_A": of_server, **talkative})
    target = origins.start(echo).host_port
    with server.program:
        logins = {"CLIENT_POG_AUTH": f"ilya:{SERVERS}", "CLIENT_AUTH_1": of_users, "CLIENT_AUTH_2": of_late}
        client = pog.client(server.host_port, logins | talkative)
        with client.program:
            for said in (*from_the_client(client, target), *from_the_server(server)):
                check(said, of_server, of_users, of_late)
        stranger = pog.client(server.host_port, {"CLIENT_POG_AUTH": f"ilya:{WRONG}", **talkative})
        with stranger.program, connect(stranger.address, target) as answer:
            assert answer.status == 503
            check(answer.head.decode() + answer.body)
    for end, something in ((client, "407"), (stranger, "503"), (server, "Unauthenticated")):
        logged = "\n".join(end.program.stdout + end.program.stderr)
        assert something in logged
        check(logged, of_server, of_users, of_late)


# With an @ in the password, too.
LOGIN = f"user:p@{TOKEN}@127.0.0.1:28081"
BROKEN = json.dumps({"name": "x", "hash": TOKEN, "exp_date": "2999-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["server"], {"POG_AUTH_X": BROKEN}),
        (["server"], {"POG_AUTH_X": TOKEN}),
        (["client"], {"SERVER_ADDR": "127.0.0.1:1", "CLIENT_POG_AUTH": TOKEN}),
        (["client"], {"SERVER_ADDR": "127.0.0.1:1", "CLIENT_AUTH_X": BROKEN}),
        (["client"], {"SERVER_ADDR": "127.0.0.1:x", "CLIENT_POG_AUTH": f"user:{TOKEN}"}),
        (["health", "--insecure", "127.0.0.1:1"], {"CLIENT_POG_AUTH": f"user:{TOKEN}"}),
        (["stacks", "--insecure", "127.0.0.1:1", "--auth", f"user:{TOKEN}"], {}),
        (["stacks", "--insecure", "127.0.0.1:1", "--auth", TOKEN], {}),
        # Where an address is wanted, one may have been given with a login.
        (["client"], {"SERVER_ADDR": LOGIN}),
        (["client"], {"SERVER_ADDR": f"https://{LOGIN}"}),
        (["client", "--server-addr", LOGIN], {}),
        (["client"], {"SERVER_ADDR": "127.0.0.1:1", "SERVER_HOST": LOGIN}),
        (["client"], {"SERVER_ADDR": "127.0.0.1:1", "CLIENT_LISTEN": LOGIN}),
        (["server", "--listen", LOGIN], {}),
        (["server", "--port", LOGIN], {}),
        (["server", "--egress-allow", LOGIN], {}),
        (["up", "--metric-namespace", LOGIN], {}),
        (["health", "--insecure", LOGIN], {}),
        (["stacks", "--insecure", LOGIN], {}),
        (["stacks", "127.0.0.1:1", "--server-host", LOGIN], {}),
        (["health", "127.0.0.1:1", LOGIN], {}),
        (["health", "127.0.0.1:1", "--limit", LOGIN], {}),
        (["server", LOGIN], {}),
        ([LOGIN], {}),
    ],
)
def test_a_start_that_fails(command: list[str], env: dict[str, str]) -> None:
    program = Program([sys.executable, "-m", "pog", *command], env)
    assert program.wait() in (1, 2), program.output()
    said = "\n".join(program.stdout + program.stderr)
    check(said)
    assert "p@" not in said
