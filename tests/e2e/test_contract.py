"""Environment, names of metrics and log lines are the original's, at both ends."""

import re
from datetime import datetime

import pytest

from pog.grpctest import serve_in_thread
from tests.conftest import Pair
from tests.helpers import original, pog
from tests.helpers.items import expiry, item
from tests.helpers.origin import Origins, echo, unused_port
from tests.helpers.process import Program
from tests.helpers.user import basic, connect, get, samples
from tests.helpers.watch import eventually

METHOD = 'grpc_{}_method="HTTPProxy/Run"'


def talk(pair: Pair, target: str, status: int = 200, login: str = "") -> None:
    """One short tunnel, or one refusal."""
    with connect(pair.client.address, target, {"Proxy-Authorization": login} if login else {}) as tunnel:
        assert tunnel.status == status
        if status == 200:
            tunnel.send(b"abc")
            assert tunnel.receive(3) == b"abc"


@pytest.mark.parametrize("namespace", ["", "ns"])
def test_names_of_metrics(origins: Origins, namespace: str) -> None:
    prefix = f"{namespace}_" if namespace else ""
    env = {"METRIC_NAMESPACE": namespace}
    expires = expiry(5)
    auth = {"POG_AUTH_A": item("a", "a", expires), "POG_AUTH_B": item("b", "b", expiry(50))}
    server = pog.server(env | auth)
    with server.program:
        client = pog.client(
            server.host_port, env | {"CLIENT_POG_AUTH": "a:a", "CLIENT_AUTH_C": item("c", "c", expires)}
        )
        with client.program:
            talk(Pair(client, server), origins.start(echo).host_port, login=basic("c", "c"))
            for end, side, variable in ((server, "server", "POG_AUTH_"), (client, "client", "CLIENT_AUTH_")):
                check_metrics(end, side, prefix)
                assert end.metrics()[f'{prefix}auth_item_earliest_expiry{{name="{variable}"}}'] == expires.timestamp()


def check_metrics(end: pog.End, side: str, prefix: str) -> None:
    method, rpc = METHOD.format(side), f"grpc_io_{side}"

    def check() -> None:
        found = end.metrics()
        assert found[f"{prefix}tunnelling_connections_total"] == 0
        assert found[f"{rpc}_started_rpcs{{{method}}}"] == 1
        assert found[f'{rpc}_completed_rpcs{{{method},grpc_{side}_status="OK"}}'] == 1
        latency = "server_latency" if side == "server" else "roundtrip_latency"
        for view in (latency, "sent_bytes_per_rpc", "received_bytes_per_rpc"):
            assert found[f"{rpc}_{view}_count{{{method}}}"] == 1
        sent = found[f"{rpc}_sent_bytes_per_rpc_sum{{{method}}}"]
        assert 3 <= sent < 200

    eventually(check)


OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "2 workers"])
def test_the_names_are_the_same_in_openmetrics(origins: Origins, args: tuple[str, ...]) -> None:
    """That is what Prometheus asks for."""
    server = pog.server(None, *args)
    with server.program:
        client = pog.client(server.host_port)
        both = pog.client(server.host_port, {"MUX_SERVER_METRICS": "1"})
        with client.program, both.program, connect(both.address, origins.start(echo).host_port) as tunnel:
            assert tunnel.status == 200
            talk(Pair(client, server), origins.start(echo).host_port)
            for end, side in ((server, "server"), (client, "client"), (both, "client"), (both, "server")):
                eventually(lambda end=end, side=side: check_names(end, f"grpc_io_{side}_started_rpcs"))  # type: ignore[misc]


def check_names(end: pog.End, name: str) -> None:
    found = {each.partition("{")[0] for each in end.metrics(OPENMETRICS)}
    assert name in found
    assert found == {each.partition("{")[0] for each in end.metrics()}


def test_grpc_metrics_can_be_switched_off(origins: Origins) -> None:
    server = pog.server({"GRPC_BUILTIN_METRICS": "0"})
    with server.program:
        client = pog.client(server.host_port, {"GRPC_BUILTIN_METRICS": "F"})
        with client.program:
            talk(Pair(client, server), origins.start(echo).host_port)
            assert not [name for end in (client, server) for name in end.metrics() if name.startswith("grpc_io")]


LINE = r"pog: {target} {user} HTTPS 127\.0\.0\.1:\d+ \[(\S+)\] {code}"


def check_line(end: pog.End, target: str, user: str, code: str) -> None:
    """One line on stdout, with a time of RFC 3339."""
    line = LINE.format(target=re.escape(target), user=re.escape(user), code=code)
    found = end.program.wait_line(rf"^{line}$", 5)
    assert any(re.fullmatch(line, said) for said in end.program.stdout)
    assert datetime.fromisoformat(found[1]).tzinfo is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", found[1])


def test_log_lines(origins: Origins) -> None:
    server = pog.server({"POG_AUTH_A": item("ilya", "pw")})
    with server.program:
        client = pog.client(server.host_port, {"CLIENT_POG_AUTH": "ilya:pw", "CLIENT_AUTH_A": item("me", "pw")})
        with client.program:
            both, login = Pair(client, server), basic("me", "pw")
            good, bad = origins.start(echo).host_port, f"127.0.0.1:{unused_port()}"
            talk(both, good, login=login)
            talk(both, bad, 502, login)
            talk(both, good, 407)
            check_line(client, good, "me", "200")
            check_line(client, bad, "me", "502")
            check_line(client, good, "-", "407")
            check_line(server, good, "ilya", "OK")
            check_line(server, bad, "ilya", "Unavailable")
            for end, code, by in ((client, "200", "user"), (server, "OK", "client")):
                end.program.wait_line(
                    rf"^pog ended: {good} \S+ HTTPS .*\] {code} done by {by} after [\d.]+ s, 3 bytes up, 3 down$",
                    5,
                )
            for end, code in ((client, "502"), (server, "Unavailable")):
                end.program.wait_line(rf"^pog refused: {bad} .*\] {code} {bad} refused the connection", 5)


def test_log_line_without_users(pair: Pair, origins: Origins) -> None:
    target = origins.start(echo).host_port
    talk(pair, target)
    check_line(pair.client, target, "anonymous", "200")
    check_line(pair.server, target, "anonymous", "OK")


def test_the_log_can_be_switched_off(origins: Origins) -> None:
    """Any value does it, as in the original."""
    server = pog.server({"DISABLE_ACCESS_LOGGING": "0"})
    with server.program:
        client = pog.client(server.host_port, {"DISABLE_ACCESS_LOGGING": "no"})
        with client.program:
            talk(Pair(client, server), origins.start(echo).host_port)
            client.program.stop()
        server.program.stop()
        assert not [line for end in (client, server) for line in end.program.stdout if line.startswith("pog")]


def test_the_servers_metrics_behind_the_clients(pair: Pair, origins: Origins) -> None:
    """MUX_SERVER_METRICS: while a tunnel is open, as in the original."""
    client = pog.client(pair.server.host_port, {"MUX_SERVER_METRICS": "1"})
    ok = 'server_client_metrics_mux_errors_total{name="ok"}'
    with client.program:
        assert not [name for name in client.metrics() if name.startswith("grpc_io_server")]
        with connect(client.address, origins.start(echo).host_port) as tunnel:
            assert tunnel.status == 200
            _, text = get(client.address, "/metrics")
            assert "# EOF" not in text
            found = samples(text)
            assert [name for name in found if name.startswith("grpc_io_server")]
            assert [name for name in found if name.startswith("grpc_io_client")]
            # The same name twice, once from each end, and every line of the page a different series.
            assert (found["tunnelling_connections_total"], found['tunnelling_connections_total{end="server"}']) == (
                1,
                1,
            )
            lines = [line.rpartition(" ")[0] for line in text.splitlines()]
            assert len(lines) == len(set(lines))
            assert all('end="server"' in name for name in found if name.startswith("grpc_io_server"))
        assert client.metrics()[ok] == 1


def test_port_and_the_forms_of_booleans(origins: Origins) -> None:
    """PORT alone listens on every address, as on Cloud Run."""
    port = unused_port()
    server = pog.server({"SERVER_LISTEN": "", "PORT": str(port), "POG_OPEN": "1"})
    with server.program:
        assert server.address[1] == port
        client = pog.client(f"127.0.0.1:{port}", {"INSECURE": "TRUE", "CLIENT_LISTEN": ":0"})
        with client.program:
            for host in ("127.0.0.1", "::1"):
                with connect((host, client.address[1]), origins.start(echo).host_port) as tunnel:
                    assert tunnel.status == 200


@pytest.mark.parametrize(
    ("command", "env", "name"),
    [
        ("client", {}, "SERVER_ADDR"),
        ("client", {"SERVER_ADDR": "nonsense"}, "SERVER_ADDR"),
        ("client", {"SERVER_ADDR": "a:1", "INSECURE": "maybe"}, "INSECURE"),
        ("client", {"SERVER_ADDR": "a:1", "CLIENT_LISTEN": "nonsense"}, "CLIENT_LISTEN"),
        ("client", {"SERVER_ADDR": "a:1", "CLIENT_POG_AUTH": "no-colon"}, "CLIENT_POG_AUTH"),
        ("server", {"PORT": "http"}, "PORT"),
        ("server", {"EGRESS_ALLOW": "everything"}, "EGRESS_ALLOW"),
        ("server", {"GRPC_AND_HTTP_MUX": "2"}, "GRPC_AND_HTTP_MUX"),
    ],
)
def test_a_malformed_setting_stops_the_start(command: str, env: dict[str, str], name: str) -> None:
    program = Program([*pog.POG, command], env)
    assert program.wait() != 0
    assert name in program.output()
    assert "no-colon" not in program.output()
    program.check_output()


def test_authority(origins: Origins) -> None:
    """SERVER_HOST is the :authority; without it SERVER_ADDR is."""
    authorities: list[str] = []

    class Looking(original.Original):
        async def Run(self, stream: original.Call) -> None:
            authorities.append(dict(stream._stream.headers or ())[":authority"])
            await super().Run(stream)

    # On the app, whose streams keep the head as it came.
    with serve_in_thread(Looking(), transport="app") as sc:
        address = str(sc.address)
        for env, expected in (({"SERVER_HOST": "pog.example:443"}, "pog.example:443"), ({}, address)):
            client = pog.client(address, env)
            with client.program, connect(client.address, origins.start(echo).host_port) as tunnel:
                assert tunnel.status == 200
            assert authorities.pop() == expected


def test_the_port_is_taken(pair: Pair) -> None:
    for command, variable in (("server", "SERVER_LISTEN"), ("client", "CLIENT_LISTEN")):
        env = {"SERVER_ADDR": pair.server.host_port, "INSECURE": "1", variable: pair.server.host_port}
        program = Program([*pog.POG, command], env)
        assert program.wait() != 0
        assert pair.server.host_port in program.output()
        program.check_output()
