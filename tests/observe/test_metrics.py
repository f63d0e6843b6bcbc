import platform
from datetime import UTC, datetime

import pytest
from grpclib.const import Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import pog
from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.errors import Failure, FailureKind
from pog.net.address import Address
from pog.observe.endings import Role
from pog.observe.metrics import Metrics, wants_openmetrics
from pog.observe.rpcs import RPC_BYTES_BUCKETS
from pog.tunnel.ended import Ended, Reason, Side, State
from pog.tunnel.live import TunnelRecord, Tunnels
from tests.helpers.relay import Counted, FakeRelay
from tests.helpers.user import samples

CLIENT = ClientSettings(server_addr=Address("127.0.0.1", 1))


def lines(metrics: Metrics) -> list[str]:
    return metrics.render()[0].decode().splitlines()


def test_the_names_and_the_help_of_the_original_letter_by_letter() -> None:
    counted = Counted("server", ServerSettings())
    counted.open()
    metrics = counted.metrics
    metrics.auth_expiry("POG_AUTH_", datetime(2024, 8, 20, 20, 0, 53, 900_000, UTC))
    metrics.rpc_started("HTTPProxy/Run")
    metrics.rpc_completed("HTTPProxy/Run", Status.UNAVAILABLE, 0.25)
    page = lines(metrics)
    for line in (
        "# HELP tunnelling_connections_total Number of connections tunneling through the proxy.",
        "# TYPE tunnelling_connections_total gauge",
        "tunnelling_connections_total 1.0",
        "# HELP auth_item_earliest_expiry Returns earliest auth item expiry in unixtime",
        "# TYPE auth_item_earliest_expiry gauge",
        'auth_item_earliest_expiry{name="POG_AUTH_"} 1.724184053e+09',
        "# HELP grpc_io_server_completed_rpcs Number of completed RPCs by method and status.",
        "# TYPE grpc_io_server_completed_rpcs counter",
        'grpc_io_server_completed_rpcs{grpc_server_method="HTTPProxy/Run",grpc_server_status="UNAVAILABLE"} 1.0',
        "# HELP grpc_io_server_started_rpcs Number of opened server RPCs, by method.",
        "# TYPE grpc_io_server_started_rpcs counter",
        'grpc_io_server_started_rpcs{grpc_server_method="HTTPProxy/Run"} 1.0',
        'grpc_io_server_server_latency_bucket{grpc_server_method="HTTPProxy/Run",le="250.0"} 1.0',
    ):
        assert line in page


def test_the_clients_names() -> None:
    metrics = Metrics("client", CLIENT, Tunnels())
    metrics.mux_errors("ok")
    metrics.rpc_started("HTTPProxy/Run")
    metrics.rpc_completed("HTTPProxy/Run", Status.CANCELLED, 0.01, bytes_in=5000, bytes_out=1024)
    page = lines(metrics)
    method = 'grpc_client_method="HTTPProxy/Run"'
    for line in (
        'server_client_metrics_mux_errors_total{name="ok"} 1.0',
        f'grpc_io_client_completed_rpcs{{{method},grpc_client_status="CANCELLED"}} 1.0',
        f"grpc_io_client_started_rpcs{{{method}}} 1.0",
        f'grpc_io_client_roundtrip_latency_bucket{{{method},le="10.0"}} 1.0',
        f'grpc_io_client_received_bytes_per_rpc_bucket{{{method},le="4096.0"}} 0.0',
        f'grpc_io_client_received_bytes_per_rpc_bucket{{{method},le="16384.0"}} 1.0',
        f'grpc_io_client_sent_bytes_per_rpc_bucket{{{method},le="1024.0"}} 1.0',
    ):
        assert line in page
    assert not any("_created" in line for line in page)


def test_the_buckets_of_bytes_are_those_of_opencensus() -> None:
    assert RPC_BYTES_BUCKETS[:5] == (1024, 2048, 4096, 16384, 65536)
    assert RPC_BYTES_BUCKETS[-1] == 4294967296
    assert len(RPC_BYTES_BUCKETS) == 13


def test_the_namespace_goes_before_every_name_but_those_of_grpc() -> None:
    metrics = Metrics(
        "client", ClientSettings(server_addr=CLIENT.server_addr, metric_namespace="pog_client"), Tunnels()
    )
    metrics.rpc_started("HTTPProxy/Run")
    names = {line.split("{")[0].split()[0] for line in lines(metrics) if not line.startswith("#")}
    assert "pog_client_tunnelling_connections_total" in names
    assert "grpc_io_client_started_rpcs" in names
    assert all(name.startswith(("pog_client_", "grpc_io_client_")) for name in names)


def test_the_metrics_of_grpc_can_be_switched_off() -> None:
    metrics = Metrics("server", ServerSettings(grpc_builtin_metrics=False), Tunnels())
    metrics.rpc_started("HTTPProxy/Run")
    metrics.rpc_completed("HTTPProxy/Run", Status.OK, 1.0)
    assert b"grpc_io" not in metrics.render()[0]


@pytest.mark.parametrize(
    ("ended", "by", "reason"),
    [
        (Ended(Reason.IDLE, Side.RELAY, None, 0, 0), "pog", "idle"),
        (Ended(Reason.DONE, Side.LOCAL, None, 0, 0), "destination", "done"),
        (Ended(Reason.RESET, Side.TUNNEL, OSError(), 0, 0), "client", "reset"),
        (None, "pog", "cancelled"),
    ],
)
def test_a_tunnel_is_counted_from_its_opening_to_its_end(ended: Ended | None, by: str, reason: str) -> None:
    counted = Counted("server", ServerSettings())
    value = counted.metrics.registry.get_sample_value
    assert value("tunnels_ended_total", {"by": by, "reason": reason}) == 0
    tunnel = FakeRelay()
    record = counted.open(tunnel)
    assert value("tunnelling_connections_total") == len(counted.tunnels) == 1
    tunnel.ended = ended
    counted.observer.ended(record)
    assert value("tunnelling_connections_total") == len(counted.tunnels) == 0
    assert value("tunnels_opened_total") == 1
    assert value("tunnels_ended_total", {"by": by, "reason": reason}) == 1


def test_who_ends_a_tunnel_has_other_names_on_the_client() -> None:
    counted = Counted("client", CLIENT)
    tunnel = FakeRelay()
    record = counted.open(tunnel)
    tunnel.ended = Ended(Reason.RESET, Side.TUNNEL, OSError(), 0, 0)
    counted.observer.ended(record)
    assert counted.metrics.registry.get_sample_value("tunnels_ended_total", {"by": "server", "reason": "reset"}) == 1


@pytest.mark.parametrize(("counted", "up"), [(Counted("server", ServerSettings()), 20), (Counted("client", CLIENT), 1)])
def test_the_bytes_of_open_tunnels_are_counted_and_never_less_than_before(counted: Counted, up: int) -> None:
    value = counted.metrics.registry.get_sample_value
    second = FakeRelay()
    first = counted.open(FakeRelay(1, 20))
    counted.open(second)
    assert value("tunnel_bytes_total", {"direction": "up"}) == up
    assert value("tunnel_bytes_total", {"direction": "down"}) == 21 - up
    counted.observer.ended(first)
    second.from_local = second.from_tunnel = 300
    assert value("tunnel_bytes_total", {"direction": "up"}) == up + 300
    assert value("tunnel_bytes_total", {"direction": "down"}) == 21 - up + 300


def test_tunnels_are_shown_by_state() -> None:
    counted = Counted("server", ServerSettings())
    for state in [*State, *State]:
        tunnel = FakeRelay()
        tunnel.state = state
        counted.open(tunnel)
    waiting = TunnelRecord("127.0.0.1:1")
    counted.observer.requested(waiting)
    value = counted.metrics.registry.get_sample_value
    assert [value("tunnels", {"state": state.value}) for state in State] == [2, 2, 2]
    assert value("tunnels", {"state": "opening"}) == 1
    counted.observer.refused(waiting, Failure(FailureKind.DNS, "no address"))
    assert value("tunnels", {"state": "opening"}) == 0


def test_dials_are_counted_by_result_and_timed() -> None:
    metrics = Metrics("server", ServerSettings(), Tunnels())
    metrics.dialled("ok", 0.02)
    metrics.dialled(FailureKind.TIMEOUT.value, 10.0)
    value = metrics.registry.get_sample_value
    assert value("dials_total", {"result": "timeout"}) == 1
    assert value("dial_duration_seconds_bucket", {"le": "0.025"}) == 1
    assert value("dial_duration_seconds_sum") == 10.02


def test_build_and_process_are_told() -> None:
    value = Metrics("server", ServerSettings(), Tunnels()).registry.get_sample_value
    assert value("build_info", {"version": pog.__version__, "python": platform.python_version()}) == 1
    if platform.system() == "Linux":
        assert (value("process_resident_memory_bytes") or 0) > 0


@pytest.mark.parametrize("role", ["server", "client"])
def test_both_formats_are_read_by_the_parsers_of_prometheus_and_have_the_same_samples(role: Role) -> None:
    metrics = Metrics(role, ServerSettings() if role == "server" else CLIENT, Tunnels())
    metrics.rpc_started("HTTPProxy/Run")
    metrics.rpc_completed("HTTPProxy/Run", Status.OK, 1.0)
    text, text_type = metrics.render()
    assert text_type == "text/plain; version=0.0.4; charset=utf-8"
    page, page_type = metrics.render(True)
    assert page_type.startswith("application/openmetrics-text; version=1.0.0")
    assert list(parse_text(text.decode()))
    families = list(parse_openmetrics(page.decode()))  # type: ignore[no-untyped-call]
    # Not by the parser of text, which gives every counter its _total.
    assert samples(page.decode()).keys() == samples(text.decode()).keys()
    # As the Go original, whose counters have no _total there either.
    kinds = {family.name: family.type for family in families}
    for each in ("started", "completed"):
        assert f"grpc_io_{role}_{each}_rpcs" in {sample.name for family in families for sample in family.samples}
        assert kinds[f"grpc_io_{role}_{each}_rpcs"] == "unknown"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", True),
        ("text/plain, Application/OpenMetrics-Text", True),
        ("application/openmetrics-text;q=0.0,text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0.5, text/*;q=0.9", False),
        ("application/openmetrics-text;q=0.5, */*", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.1, */*", True),
        ("application/openmetrics-text;Q=0.5,text/plain ; q=0.3", True),
        ("application/openmetrics-text;q=0.5;version=1.0.0,text/plain;q=0.3", True),
        ("application/openmetrics-text; version=0.0.1, text/plain; version=0.0.4", False),
        ('application/openmetrics-text; version="1.0.0"; note="a, text/plain; q=1"; q=0.4, text/plain;q=0.3', True),
        ("application/*", False),
        ("application/openmetrics-textual", False),
        # Prometheus 3.
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            True,
        ),
    ],
)
def test_openmetrics_is_for_those_who_ask(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted
