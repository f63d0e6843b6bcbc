"""Several exits, as real processes: what one cannot serve goes to the next, and the user notices nothing but time."""

from __future__ import annotations

import json
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from grpclib.const import Status

from tests.helpers import pog
from tests.helpers.origin import answer, echo
from tests.helpers.original import Breaking, Original, failing, serving
from tests.helpers.process import Program
from tests.helpers.user import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.origin import Origins
    from tests.helpers.tls import Authority

ROUNDS = 25


@pytest.fixture
def gone() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*sock.getsockname())


def client(folder: Path, text: str, env: dict[str, str] | None = None) -> pog.End:
    path = folder / "pog.toml"
    path.write_text(text)
    return pog.client("", {"POG_CONFIG": str(path), "INSECURE": ""} | (env or {}))


def exits(**servers: object) -> str:
    return "\n".join(f'[[exits]]\nname = "{name}"\nserver = "{at}"\ninsecure = true' for name, at in servers.items())


def get_over_tls(proxy: tuple[str, int], port: int, authority: Authority) -> bytes:
    tunnel = connect(proxy, f"127.0.0.1:{port}")
    assert tunnel.status == 200, tunnel.head
    with authority.user_context().wrap_socket(tunnel.sock, server_hostname="127.0.0.1") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        data = b""
        while piece := tls.recv(65536):
            data += piece
        return data.partition(b"\r\n\r\n")[2]


def test_every_first_request_succeeds_when_one_exit_is_gone_and_one_breaks(
    tmp_path: Path, origins: Origins, authority: Authority, shared_server: pog.End, gone: str
) -> None:
    origin = origins.start(answer(b"whole"), tls=authority.server_context())
    breaking = Breaking()
    with serving(breaking) as between:
        text = exits(gone=gone, breaking=between.address, good=shared_server.host_port)
        with client(tmp_path, text, {"LOG_FORMAT": "json"}).program as program:
            proxy = _proxy(program.wait_line(r"pog client on 127\.0\.0\.1:(\d+)"))
            for _ in range(ROUNDS):
                assert get_over_tls(proxy, origin.port, authority) == b"whole"
            record = json.loads(program.wait_line(r'^\{.*"bytes_down":[1-9].*').string)
    assert len(breaking.firsts) == ROUNDS
    assert all(first[0] == 22 for first in breaking.firsts), "a ClientHello"
    tunnel = record["tunnel"]
    assert (tunnel["exit"], tunnel["rule"]) == ("good", "no rule")
    assert "broke without an answer" in tunnel["why"]


def _proxy(found: re.Match[str]) -> tuple[str, int]:
    return "127.0.0.1", int(found[1])


def test_a_get_in_clear_goes_again_and_a_post_does_not(
    tmp_path: Path, origins: Origins, shared_server: pog.End
) -> None:
    origin = origins.start(answer(b"whole"))
    with serving(Breaking()) as between:
        text = exits(breaking=between.address, good=shared_server.host_port)
        end = client(tmp_path, text)
        with end.program:
            target = f"127.0.0.1:{origin.port}"
            got = connect(end.address, target)
            got.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert got.receive_all().endswith(b"whole")
            got.close()
            posted = connect(end.address, target)
            posted.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                posted.receive_all()
            posted.close()


def test_with_the_setting_off_nothing_goes_again(tmp_path: Path, origins: Origins, shared_server: pog.End) -> None:
    origin = origins.start(answer(b"whole"))
    with serving(Breaking()) as between:
        text = exits(breaking=between.address, good=shared_server.host_port)
        end = client(tmp_path, text, {"FIRST_FLIGHT": "0"})
        with end.program:
            got = connect(end.address, f"127.0.0.1:{origin.port}")
            got.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                got.receive_all()
            got.close()


@pytest.mark.parametrize(
    "status", [Status.UNAVAILABLE, Status.UNAUTHENTICATED, Status.RESOURCE_EXHAUSTED, Status.PERMISSION_DENIED]
)
def test_an_exit_that_refuses_is_passed_over(
    tmp_path: Path, origins: Origins, shared_server: pog.End, status: Status
) -> None:
    origin = origins.start(echo)
    with serving(failing(status, "not today")) as refusing:
        text = exits(refusing=refusing.address, good=shared_server.host_port)
        end = client(tmp_path, text)
        with end.program:
            tunnel = connect(end.address, f"127.0.0.1:{origin.port}")
            assert tunnel.status == 200, tunnel.head
            tunnel.send(b"ping")
            assert tunnel.receive(4) == b"ping"
            tunnel.close()


def test_a_destinations_own_refusal_moves_nothing_unless_the_rule_says_so(
    tmp_path: Path, shared_server: pog.End, gone: str
) -> None:
    with serving(Original()) as original:
        text = exits(first=shared_server.host_port, second=original.address)
        end = client(tmp_path, text)
        with end.program:
            refused = connect(end.address, gone)
            assert (refused.status, refused.fields["proxy-status"].split(";")[1]) == (502, " error=connection_refused")
            refused.close()
        rule = '[[rules]]\nexits = ["first", "second"]\nretry_refused = true\n'
        end = client(tmp_path, text + "\n" + rule)
        with end.program:
            refused = connect(end.address, gone)
            assert refused.status == 503, "the second one's answer"
            assert "no exit could open the tunnel: first: " in refused.body
            refused.close()


def test_direct_and_the_originals_server_are_exits_like_any_other(tmp_path: Path, origins: Origins, gone: str) -> None:
    origin, original = origins.start(echo), Original()
    with serving(original) as there:
        rules = """
[[rules]]
ports = [1]
exits = ["reject"]
[[rules]]
hosts = ["localhost"]
exits = ["gone", "original"]
[[rules]]
exits = ["gone", "direct"]
"""
        end = client(tmp_path, exits(gone=gone, original=there.address) + "\n" + rules)
        with end.program:
            for host in ("127.0.0.1", "localhost"):
                tunnel = connect(end.address, f"{host}:{origin.port}", early=b"ping")
                assert tunnel.status == 200, tunnel.head
                assert tunnel.receive(4) == b"ping"
                tunnel.close()
            rejected = connect(end.address, "example.com:1")
            assert (rejected.status, rejected.fields["proxy-status"].split(";")[1]) == (
                403,
                " error=destination_ip_prohibited",
            )
            rejected.close()
    assert len(original.metadata) == 1


def test_when_the_chosen_exit_dies_the_next_tunnel_opens_through_another(tmp_path: Path, origins: Origins) -> None:
    origin = origins.start(echo)
    first, second = pog.server(), pog.server()
    with second.program:
        with first.program:
            end = client(tmp_path, exits(first=first.host_port, second=second.host_port))
            with end.program:
                held = connect(end.address, f"127.0.0.1:{origin.port}", early=b"held")
                assert held.receive(4) == b"held"
                assert first.tunnels() == 1
                first.program.kill()
                with pytest.raises((ConnectionResetError, EOFError)):
                    held.receive(1)
                held.close()
                tunnel = connect(end.address, f"127.0.0.1:{origin.port}", early=b"next")
                assert tunnel.status == 200, tunnel.head
                assert tunnel.receive(4) == b"next"
                assert second.tunnels() == 1
                tunnel.close()


@pog.engine_only  # Hypercorn's own announces no end
@pytest.mark.parametrize("on_dead", ["keep", "close"])
def test_the_tunnels_of_a_dead_exit_are_closed_where_the_file_says_so(
    tmp_path: Path, origins: Origins, on_dead: str
) -> None:
    """The server drains, so that its tunnels would go on, and refuses connections."""
    origin = origins.start(echo)
    first, second = pog.server({"DRAIN_TIMEOUT": "60"}), pog.server()
    with second.program, first.program:
        text = f'{exits(first=first.host_port)}\non_dead = "{on_dead}"\n{exits(second=second.host_port)}'
        end = client(tmp_path, text)
        with end.program:
            held = [connect(end.address, origin.host_port, early=b"held") for _ in range(2)]
            assert [each.receive(4) for each in held] == [b"held"] * 2
            first.program.send_signal(signal.SIGTERM)
            end.program.wait_line("exit first: cannot connect: ")
            if on_dead == "close":
                for each in held:
                    with pytest.raises(ConnectionResetError):
                        each.receive(1)
                end.program.wait_line("exit first: it is dead: open tunnels closed: 2$")
            with connect(end.address, origin.host_port, early=b"next") as tunnel:
                assert tunnel.receive(4) == b"next"
                assert second.tunnels() == 1
            if on_dead == "keep":
                for each in held:
                    each.send(b"still")
                    assert each.receive(5) == b"still"
            for each in held:
                each.close()
            assert "open tunnels closed" not in end.program.output() or on_dead == "close"


def test_when_no_exit_helps_the_user_is_told_of_each(tmp_path: Path, gone: str) -> None:
    with serving(failing(Status.UNAVAILABLE, "closed")) as closed:
        end = client(tmp_path, exits(gone=gone, closed=closed.address))
        with end.program:
            refused = connect(end.address, "example.com:443")
            assert refused.status == 503
            said = refused.fields["proxy-status"]
            last = re.fullmatch(r'pog; error=destination_unavailable; next-hop="(gone|closed)"; details="(.*)"', said)
            assert last is not None and last[2].startswith("no rule: no exit could open the tunnel: "), said
            end.program.wait_line(rf"pog refused: .* \[exit {last[1]} by no rule\]$")
            found = end.metrics()
            assert found['exit_failures_total{exit="closed"}'] == 1
            assert found['exit_up{exit="gone"}'] == 0
            assert found['exit_up{exit="closed"}'] == 1
            body = refused.body
            assert "gone: " in body and "refused" in body.lower()
            assert "closed: the server did not open the tunnel: UNAVAILABLE: closed" in body
            refused.close()


def test_an_open_tunnel_says_in_header_log_and_metrics_which_exit_it_took_and_why(
    tmp_path: Path, origins: Origins, shared_server: pog.End, gone: str
) -> None:
    origin = origins.start(answer(b"whole"))
    rules = '[[rules]]\nfront = ["http"]\nexits = ["gone", "good"]\n[[rules]]\nexits = ["reject"]\n'
    end = client(tmp_path, exits(gone=gone, good=shared_server.host_port) + "\n" + rules)
    with end.program:
        tunnel = connect(end.address, origin.host_port)
        said = tunnel.fields["proxy-status"]
        assert said.startswith('pog; next-hop="good"; details="rules[0]: in order'), said
        tunnel.close()
        end.program.wait_line(r"pog ended: .* \[exit good by rules\[0\]: in order")
        url = f"http://{origin.host_port}/"
        with socket.create_connection(end.address) as sock:
            sock.sendall(f"GET {url} HTTP/1.1\r\nHost: {origin.host_port}\r\nConnection: close\r\n\r\n".encode())
            assert sock.recv(12) == b"HTTP/1.1 200", "a plain request is http to a rule"
        assert end.metrics()['exit_tunnels_opened_total{exit="good"}'] == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[exits]]\nname = "a"\n', r"exits\[0\]: .*required field `server`"),
        ('[[exits]]\nname = "a"\nserver = "h:1"\nsever = "x"\n', r"exits\[0\]: .*unknown field `sever`"),
        ('[[exits]]\nname = "a"\nserver = 7\n', r"exits\[0\]\.server: Expected `str`, got `int`"),
        ('[[exits]]\nname = "a"\nserver = "h"\n', r"exits\[0\]\.server: must be host:port"),
        (
            '[[exits]]\nname = "a"\nserver = "h:1"\non_dead = "cut"\n',
            r"exits\[0\]\.on_dead: must be one of keep, close, not 'cut'",
        ),
        ('[[exits]]\nname = "a"\nserver = "h:1"\nauth = "x"\n', r"exits\[0\]\.auth: must be user:password"),
        ("[[exits]\n", "is not TOML: .*line 1"),
        ("max_tunnel = 3\n", "max_tunnel: is no setting"),
        ("max_tunnels = -1\n", "max_tunnels: must be a whole number"),
        ('[[rules]]\nexits = ["b"]\n', r"rules\[0\]\.exits: there is no exit 'b'"),
        ('[[rules]]\nexits = ["direct"]\nhosts = ["a:1"]\n', r"rules\[0\]\.hosts: 'a:1' is no host"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "pog.toml"
    path.write_text(text)
    program = Program([*pog.POG, "client"], {"POG_CONFIG": str(path)})
    assert program.wait() == 2
    assert re.search(problem, program.output(), re.M), program.output()
    assert "Traceback" not in program.output()


def test_a_server_beside_the_exits_of_a_file_is_an_error_and_a_file_in_the_default_place_gives_way(
    tmp_path: Path, shared_server: pog.End
) -> None:
    (tmp_path / "pog").mkdir()
    path = tmp_path / "pog" / "config.toml"
    path.write_text(exits(west="127.0.0.1:1"))
    program = Program([*pog.POG, "client"], {"POG_CONFIG": str(path), "SERVER_ADDR": "h:1"})
    assert program.wait() == 2
    assert "SERVER_ADDR: must not be set beside [[exits]] of" in program.output()
    end = pog.client(shared_server.host_port, {"XDG_CONFIG_HOME": str(tmp_path)})
    with end.program:
        end.program.wait_line(rf"SERVER_ADDR is set, so {re.escape(str(path))} is not used")
    end = pog.client("", {"XDG_CONFIG_HOME": str(tmp_path), "INSECURE": ""})
    with end.program:
        end.program.wait_line("exit west: cannot connect")


def test_what_is_probably_a_mistake_is_a_warning(tmp_path: Path, shared_server: pog.End) -> None:
    text = (
        exits(west=shared_server.host_port, east=shared_server.host_port)
        + """
[[rules]]
hosts = ["*.example.com"]
exits = ["west"]
[[rules]]
hosts = ["www.example.com"]
exits = ["west"]
[[rules]]
exits = ["west"]
"""
    )
    end = client(tmp_path, text)
    with end.program:
        end.program.wait_line(r"rules\[1\] is never used: rules\[0\] matches all that it matches")
        end.program.wait_line("exit east is in no rule")
