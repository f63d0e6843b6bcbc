"""Who may use the client (407) and who may use the server (UNAUTHENTICATED, 503 at the user)."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import pog, rpc
from tests.helpers.items import expiry, item
from tests.helpers.known_faults import LATE_DATA
from tests.helpers.origin import Origins, echo
from tests.helpers.user import Answer, basic, connect

PASSWORD = "a:pass: word"
OTHERS = {"REALM_AUTH_X": "not ours"}


@pytest.fixture(scope="module")
def server() -> Iterator[pog.End]:
    """A server with two users, one of them expired."""
    end = pog.server({"POG_AUTH_A": item("ilya", PASSWORD), "POG_AUTH_B": item("old", "old", expiry(-1)), **OTHERS})
    with end.program:
        yield end


@pytest.fixture(scope="module")
def client(server: pog.End) -> Iterator[pog.End]:
    """A client with two users of its own, one of them expired, and the right password for the server."""
    env = {"CLIENT_AUTH_1": item("user", "secret"), "CLIENT_AUTH_2": item("late", "late", expiry(-1))}
    end = pog.client(server.host_port, {**env, "CLIENT_POG_AUTH": f"ilya:{PASSWORD}"})
    with end.program:
        yield end


def refused(answer: Answer, status: int) -> str:
    with answer:
        body = answer.body
    assert answer.status == status, (answer.head, body)
    return answer.fields["x-proxy-over-grpc-error"]


def test_right_credentials_at_both_ends(client: pog.End, origins: Origins) -> None:
    fields = {"Proxy-Authorization": basic("user", "secret")}
    for _ in range(2):  # the second comes from memory
        with connect(client.address, origins.start(echo).host_port, fields) as tunnel:
            assert tunnel.status == 200
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"


def test_no_credentials(client: pog.End) -> None:
    answer = connect(client.address, "127.0.0.1:1")
    refused(answer, 407)
    assert answer.fields["proxy-authenticate"].startswith("Basic realm=")


def test_wrong_unknown_expired_and_malformed_credentials_look_the_same(client: pog.End) -> None:
    """A stranger must not learn which names exist; and no credential is echoed."""
    values = [basic("user", "wrong"), basic("nobody", "secret"), basic("late", "late")]
    values += ["Basic ???", "Basic " + "c2VjcmV0", "Bearer secret", "Basic"]
    answers = [connect(client.address, "127.0.0.1:1", {"Proxy-Authorization": value}) for value in values]
    texts = {refused(answer, 407) for answer in answers}
    assert len(texts) == 1
    assert "secret" not in texts.pop()
    assert {answer.fields["proxy-authenticate"] for answer in answers} == {answers[0].fields["proxy-authenticate"]}


@LATE_DATA
@pytest.mark.parametrize("login", ["ilya:hunter2", "nobody:hunter2", "old:old", None])
def test_the_server_refuses_the_client(server: pog.End, login: str | None) -> None:
    end = pog.client(server.host_port, {"CLIENT_POG_AUTH": login} if login else {})
    with end.program:
        text = refused(connect(end.address, "127.0.0.1:1"), 503)
        assert "password" in text or "auth" in text.lower()
        if login:
            assert login.partition(":")[2] not in text.split()


@LATE_DATA
def test_the_logs_say_what_was_wrong(server: pog.End) -> None:
    """Who asked does not learn it."""
    for login, fault in (("ilya:hunter2", "wrong password"), ("no one:x", "unknown user"), ("old:old", "expired item")):
        end = pog.client(server.host_port, {"CLIENT_POG_AUTH": login})
        with end.program:
            text = refused(connect(end.address, "127.0.0.1:1"), 503)
            assert "wrong or expired user and/or password" in text
        name = login.partition(":")[0]
        server.program.wait_line(rf"WARNING pog: a login of '{name}' was refused: {fault}, from 127.0.0.1:\d+ ")
    env = {"CLIENT_AUTH_1": item("user", "secret")}
    end = pog.client(server.host_port, env)
    with end.program:
        refused(connect(end.address, "127.0.0.1:1", {"Proxy-Authorization": basic("user", "wrong")}), 407)
        end.program.wait_line(r"a login of 'user' was refused: wrong password, from 127.0.0.1:\d+ \(CLIENT_AUTH_\*\)")


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_server_in_which_nobody_can_log_in_says_so(args: tuple[str, ...], tmp_path: Path) -> None:
    """At every log level; and of items that expire soon as well, at the start and when they are read again."""
    items = tmp_path / "items"
    items.write_text(item("old", "old", expiry(-1)))
    end = pog.server({"POG_AUTH_FILE": str(items), "LOG_LEVEL": "error"}, *args)
    with end.program:
        line = end.program.wait_line(
            r"ERROR pog: NOBODY CAN LOG IN: every auth item \(POG_AUTH_\*\) has expired: old on "
        )
        assert [each for each in end.program.stderr if "NOBODY" in each] == [line.string]
        items.write_text(item("older", "old", expiry(-2)))
        end.program.send_signal(signal.SIGHUP)
        end.program.wait_line("NOBODY CAN LOG IN: .*: older on ")
    end = pog.server(
        {"POG_AUTH_A": item("a", "a", expiry(13 * 24)), "POG_AUTH_B": item("b", "b", expiry(15 * 24))}, *args
    )
    with end.program:
        assert end.program.wait_line("expire soon: (.*) on ")[1] == "a"


@LATE_DATA
def test_secrets_stay_secret(client: pog.End, server: pog.End) -> None:
    """After all of the above, no output of either program holds a password, a hash or a header."""
    with connect(client.address, "127.0.0.1:1", {"Proxy-Authorization": basic("user", "secret")}):
        pass
    for end in (client, server):
        said = end.program.output()
        for secret in (
            PASSWORD,
            "secret",
            "$2b$",
            basic("ilya", PASSWORD).split()[1],
            basic("user", "secret").split()[1],
        ):
            assert secret not in said


def test_the_clients_own_pages_need_no_credentials(client: pog.End) -> None:
    """As in the original, whose auth guards tunnels only."""
    assert client.tunnels() >= 0


def test_an_item_of_genauthitem_opens_the_door(origins: Origins) -> None:
    command = [*pog.POG, "genauthitem", "--name", "gen", "--password", "pw", "--timeToLive", "1h"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert json.loads(made).keys() == {"name", "hash", "exp_date"}
    server = pog.server({"POG_AUTH_GEN": made})
    with server.program, rpc.channel(server.host_port) as opened:
        assert rpc.health(opened, (("authorization", basic("gen", "pw")),))["app"] == "proxy-over-grpc server"


@pytest.mark.parametrize(
    ("command", "name"),
    [("server", "POG_AUTH_X"), ("client", "CLIENT_AUTH_X")],
)
@pytest.mark.parametrize(
    "value",
    ["{", "[]", '{"name": "a"}', '{"name": "a", "hash": "$2b$04$short", "exp_date": "2030-01-01T00:00:00Z"}']
    + [json.dumps(json.loads(item("a", "b")) | {"exp_date": "tomorrow"})],
)
def test_a_malformed_item_stops_the_start(command: str, name: str, value: str) -> None:
    env = {"PATH": "/usr/bin:/bin", "SERVER_ADDR": "127.0.0.1:1", "SERVER_LISTEN": pog.ANY_PORT, name: value}
    env["CLIENT_LISTEN"] = pog.ANY_PORT
    ended = subprocess.run([sys.executable, "-m", "pog", command], env=env, capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "$2b$" not in ended.stderr
