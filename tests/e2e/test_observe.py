"""What an operator sees of tunnels: the numbers while they are open, and one record at the end of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pog.proto.grpcproxy_pb2 import Packet
from tests.conftest import Pair
from tests.helpers import pog, rpc
from tests.helpers.origin import Origins, answer, echo, reset_after, unused_port
from tests.helpers.process import PORTABLE, Program
from tests.helpers.user import connect
from tests.helpers.watch import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def ends() -> Iterator[Pair]:
    """Both ends with JSON logs."""
    server = pog.server({"LOG_FORMAT": "json"})
    with server.program:
        client = pog.client(server.host_port, {"LOG_FORMAT": "json"})
        with client.program:
            yield Pair(client, server)


def record(end: pog.End, destination: str) -> dict[str, Any]:
    """The one record of the tunnel to there, once it is written."""

    def look() -> dict[str, Any]:
        records: list[dict[str, Any]] = [json.loads(line) for line in end.program.stdout]
        (found,) = [each for each in records if each["tunnel"]["destination"] == destination] or [{}]
        assert found
        return found

    return eventually(look)


def told(end: pog.End, destination: str) -> tuple[str, str]:
    tunnel = record(end, destination)["tunnel"]
    return tunnel["reason"], tunnel["ended_by"]


def test_a_scrape_counts_the_bytes_of_open_tunnels(pair: Pair, origins: Origins) -> None:
    before = [end.metrics() for end in (pair.client, pair.server)]
    with connect(pair.client.address, origins.start(echo).host_port) as tunnel:
        tunnel.send(bytes(300_000))
        tunnel.receive(300_000)
        for end, first in zip((pair.client, pair.server), before, strict=True):
            now = end.metrics()
            for direction in ("up", "down"):
                name = f'tunnel_bytes_total{{direction="{direction}"}}'
                assert now[name] - first[name] == 300_000
            assert now['tunnels{state="open"}'] == 1
            assert now["first_byte_duration_seconds_count"] - first["first_byte_duration_seconds_count"] == 1
            assert now["handshake_duration_seconds_count"] - first["handshake_duration_seconds_count"] == 1
            if end.is_server and PORTABLE:
                continue  # its connections are not ours
            assert now["http2_connections"] >= 1
            # The scrape of the server is a stream itself.
            assert now["http2_streams"] == (2 if end.is_server else 1)


def test_a_tunnel_that_ends_well(ends: Pair, origins: Origins) -> None:
    target = origins.start(answer(b"hello")).host_port
    with connect(ends.client.address, target) as tunnel:
        tunnel.send(b"GET / HTTP/1.1\r\n\r\n")
        size = len(tunnel.receive_all())
        tunnel.half_close()
        for end, code, by in ((ends.client, "200", "server"), (ends.server, "OK", "destination")):
            found = record(end, target)
            assert found["severity"] == "INFO"
            tunnel_told = found["tunnel"]
            assert (tunnel_told["reason"], tunnel_told["ended_by"]) == ("done", by)
            assert (tunnel_told["bytes_up"], tunnel_told["bytes_down"]) == (18, size)
            assert tunnel_told["code"] == code
            assert 0 < tunnel_told["handshake_seconds"] < tunnel_told["duration_seconds"]
            assert 0 < tunnel_told["first_byte_seconds"] < tunnel_told["duration_seconds"]
            assert found["httpRequest"]["status"] == 200


def test_a_destination_that_breaks(ends: Pair, origins: Origins) -> None:
    target = origins.start(reset_after(1)).host_port
    with connect(ends.client.address, target) as tunnel:
        tunnel.send(b"x")
        assert told(ends.server, target) == ("reset", "destination")
        assert told(ends.client, target) == ("reset", "server")
        assert "UNAVAILABLE" in record(ends.client, target)["tunnel"]["error"]


def test_a_user_who_leaves(ends: Pair, origins: Origins) -> None:
    target = origins.start(echo).host_port
    with connect(ends.client.address, target) as tunnel:
        tunnel.send(b"x")
        tunnel.receive(1)
    assert told(ends.client, target) == ("done", "user")
    assert told(ends.server, target) == ("done", "client")


def test_a_destination_that_refuses(ends: Pair) -> None:
    target = f"127.0.0.1:{unused_port()}"
    with connect(ends.client.address, target) as refused:
        assert refused.status == 502
    for end, code in ((ends.client, "502"), (ends.server, "Unavailable")):
        found = record(end, target)
        assert told(end, target) == ("refused", "")
        assert found["tunnel"]["code"] == code
        assert found["httpRequest"]["status"] == 502
        assert found["severity"] == "WARNING"
        assert "refused the connection" in found["tunnel"]["error"]
        assert end.metrics()[f'tunnels_refused_total{{code="{code}"}}'] >= 1


def test_the_trace_of_a_call(ends: Pair, origins: Origins) -> None:
    target = origins.start(echo).host_port
    metadata = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"), ("x-forwarded-for", "203.0.113.7"))
    with rpc.channel(ends.server.host_port) as channel, rpc.Tunnel(channel, metadata) as tunnel:
        tunnel.connect(target)
        tunnel.next()
        tunnel.send(Packet(payload=b"x"))
        tunnel.next()
    found = record(ends.server, target)
    assert found["logging.googleapis.com/trace"] == TRACE
    assert found["logging.googleapis.com/spanId"] == "b7ad6b7169203331"
    assert found["logging.googleapis.com/trace_sampled"] is True
    assert found["tunnel"]["forwarded_for"] == "203.0.113.7"


def test_messages_are_records_too(ends: Pair) -> None:
    for end in (ends.client, ends.server):
        records = [json.loads(line) for line in end.program.stderr]
        assert any(" on 127.0.0.1:" in each["message"] for each in records)


def test_both_ends_in_one_process_speak_json_alone() -> None:
    _, client = pog.up({"LOG_FORMAT": "json"})
    with client.program:
        client.program.wait_line("try: ")
    said = [json.loads(line) for line in client.program.stdout + client.program.stderr]
    found = {each["message"].split()[0]: each["severity"] for each in said if each["logger"] == "pog"}
    assert found | {"server": "INFO", "proxy": "INFO", "try:": "INFO"} == found


@pytest.mark.parametrize("args", [["server"], ["server", "--workers", "2"], ["client"], ["up"]])
def test_why_a_program_ends_is_a_record(args: list[str], shared_server: pog.End) -> None:
    env = {"LOG_FORMAT": "json", "SERVER_ADDR": shared_server.host_port}
    program = Program([*pog.POG, *args, "--listen", shared_server.host_port], env)
    assert program.wait() == 1
    record = [json.loads(line) for line in program.stdout + program.stderr][-1]
    assert record["severity"] == "ERROR"
    assert f"cannot listen on {shared_server.host_port}" in record["message"]


@pytest.mark.parametrize("style", ["line", "json"])
def test_messages_of_a_server_that_hypercorn_runs(style: str) -> None:
    end = pog.hypercorn({"LOG_FORMAT": style, "SERVER_LISTEN": ":1"})
    with end.program:
        warning = end.program.wait_line("no POG_AUTH_").string
        assert len([line for line in end.program.stderr if "Running on" in line]) == 1
        assert (json.loads(warning)["severity"] if style == "json" else warning.split()[2]) == "WARNING"
