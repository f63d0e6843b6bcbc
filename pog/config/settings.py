"""Settings of the two programs: frozen, read once, handed down; nothing else reads the environment.

Every field is one row of a table: flag, variable, kind of value, default and what it is for. The row drives the reading
of flags and variables, the options of the commands and the tables in the README. Times are in seconds.

A flag wins over a variable, a variable over the default. An empty variable counts as unset, as in the Go original.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pog.config import parsers
from pog.config.auth_items import ITEM, ITEM_FILE, AuthItem, ItemFile, parse_items
from pog.config.endpoints import ENDPOINTS, Endpoint
from pog.config.exits import BuiltIn, Login, NoVia, ServerExit, Via
from pog.config.options import Setting, setting
from pog.config.parsers import Kind, Network
from pog.config.rules import Rule
from pog.config.via import OPTIONAL_VIA
from pog.errors import SettingsError
from pog.net.address import Address

__all__ = [
    "Address",
    "ClientSettings",
    "CommonSettings",
    "Guarded",
    "Login",
    "ServerSettings",
    "load",
    "markdown",
    "table",
]

S = TypeVar("S", bound="CommonSettings")

_LISTEN_HELP = (
    "without a host, or with 0.0.0.0 or [::], on every address, IPv4 and IPv6; with a name on all its addresses"
)

AUTH: Kind[tuple[AuthItem, ...]] = Kind("JSON", ITEM.form, lambda text: (ITEM.parse(text),), secret=True)
OPTIONAL_BOOL: Kind[bool | None] = parsers.BOOL
OPTIONAL_LISTEN: Kind[Address | None] = parsers.LISTEN
OPTIONAL_LOGIN: Kind[Login | None] = parsers.LOGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """What server and client have in common."""

    metric_namespace: str = setting(
        "--metric-namespace",
        "METRIC_NAMESPACE",
        parsers.NAMESPACE,
        "",
        "Prefix for the names of all metrics except `grpc_io_*`.",
    )
    access_log: bool = setting(
        "--access-log",
        "DISABLE_ACCESS_LOGGING",
        parsers.OFF_IF_SET,
        True,
        "The access log on standard output. Any value of the variable turns it off.",
    )
    log_ends: bool = setting(
        "--log-ends",
        "LOG_ENDS",
        parsers.BOOL,
        True,
        "The line when a tunnel has ended: bytes, seconds and reason. The Go original has none.",
    )
    grpc_builtin_metrics: bool = setting(
        "--grpc-builtin-metrics",
        "GRPC_BUILTIN_METRICS",
        parsers.BOOL,
        True,
        "Count gRPC calls in the metrics `grpc_io_*`.",
    )
    idle_timeout: float = setting(
        "--idle-timeout",
        "TUNNEL_IDLE_TIMEOUT",
        parsers.SECONDS,
        0.0,
        "End a tunnel after this many seconds without traffic; 0 disables it.",
    )
    half_close_timeout: float = setting(
        "--half-close-timeout",
        "TUNNEL_HALF_CLOSE_TIMEOUT",
        parsers.SECONDS,
        60.0,
        "The same for a tunnel that is closed in one direction.",
    )
    drain_timeout: float = setting(
        "--drain-timeout",
        "DRAIN_TIMEOUT",
        parsers.SECONDS,
        8.0,
        "Seconds that open tunnels may continue after SIGTERM.",
    )
    log_level: str = setting(
        "--log-level",
        "LOG_LEVEL",
        parsers.choice("debug", "info", "warning", "error"),
        "info",
        "Minimum severity of the messages on standard error.",
    )
    log_format: str = setting(
        "--log-format",
        "LOG_FORMAT",
        parsers.choice("line", "json"),
        "line",
        "`line` as the Go original; `json`: one object per record, with the fields of Cloud Logging.",
    )


class Guarded:
    """Settings of a program that may require credentials."""

    __slots__ = ()
    auth: tuple[AuthItem, ...]
    auth_file: ItemFile | None

    @property
    def auth_items(self) -> tuple[AuthItem, ...]:
        """The items of the variables, then those of the file as read at the start."""
        return self.auth + (self.auth_file.items if self.auth_file else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(CommonSettings, Guarded):
    """What only the server has."""

    listen: Address | None = setting(
        "--listen",
        "SERVER_LISTEN",
        OPTIONAL_LISTEN,
        None,
        f"Where to listen: {_LISTEN_HELP}. Default: `:8080`, or `127.0.0.1:8080` without `POG_AUTH_*` and `POG_OPEN`.",
        also=Setting("--port", "PORT", parsers.LISTEN_PORT, 8080, "Port to listen on, at every address."),
    )
    auth: tuple[AuthItem, ...] = setting(
        "",
        "POG_AUTH_*",
        AUTH,
        (),
        "Users of the server: items made by `pog auth new`. Without any, tunnels are opened only where the server"
        " listens on loopback, or with `POG_OPEN`.",
    )
    auth_file: ItemFile | None = setting(
        "--auth-file", "POG_AUTH_FILE", ITEM_FILE, None, "File with more items, one per line; read again on SIGHUP."
    )
    open_proxy: bool = setting(
        "--open",
        "POG_OPEN",
        parsers.BOOL,
        False,
        "Without `POG_AUTH_*`, open tunnels for everybody who can reach the server: for one that IAM or a private"
        " network guards.",
    )
    tls_cert: str = setting(
        "--tls-cert",
        "SERVER_TLS_CERT",
        parsers.FILE,
        "",
        "Serve TLS with this certificate: a file in PEM, which is read again on SIGHUP and when it has changed.",
    )
    tls_key: str = setting(
        "--tls-key", "SERVER_TLS_KEY", parsers.FILE, "", "Its private key, when that is in another file."
    )
    tls_self_signed: bool = setting(
        "--tls-self-signed",
        "SERVER_TLS_SELF_SIGNED",
        parsers.BOOL,
        False,
        "Serve TLS with a certificate of its own, for a first try. Its key stays in a file and clients can pin it.",
    )
    grpc_and_http_mux: bool = setting(
        "--grpc-and-http-mux", "GRPC_AND_HTTP_MUX", parsers.BOOL, True, "Serve pages beside gRPC; 0 serves gRPC only."
    )
    egress_allow: tuple[Network, ...] = setting(
        "--egress-allow",
        "EGRESS_ALLOW",
        parsers.NETWORKS,
        (),
        "Networks allowed as destinations although they are loopback, link-local, unspecified or multicast; cloud "
        "metadata only by its own address.",
    )
    dial_timeout: float = setting(
        "--dial-timeout",
        "DIAL_TIMEOUT",
        parsers.POSITIVE_SECONDS,
        10.0,
        "Timeout for connecting to a destination, in seconds.",
    )
    stacks: bool | None = setting(
        "--stacks",
        "STACKS",
        OPTIONAL_BOOL,
        None,
        "Serve the stacks of all tasks and threads. Default: only if `POG_AUTH_*` is set.",
    )
    engine: str = setting(
        "--engine",
        "POG_ENGINE",
        parsers.choice("cut-through", "portable"),
        "cut-through",
        "`cut-through`: pog's own HTTP/2. `portable`: Hypercorn's, by plain ASGI messages; slower, for comparison.",
    )
    workers: int = setting("--workers", "", parsers.WORKERS, 1, "Number of worker processes.")

    @property
    def tls(self) -> bool:
        """Whether the port speaks TLS."""
        return bool(self.tls_cert) or self.tls_self_signed

    @property
    def listens_at(self) -> Address:
        """Where to listen: what was asked for, or the original's default, or loopback for a server without users."""
        if self.listen is not None:
            return self.listen
        return Address("" if self.auth_items or self.open_proxy else "127.0.0.1", 8080)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(CommonSettings, Guarded):
    """What only the client has."""

    server_addr: Address | BuiltIn | None = setting(
        "--server-addr",
        "SERVER_ADDR",
        parsers.OPTIONAL_EXIT,
        None,
        "Address of the server; `direct:` connects without one. Required without a configuration file.",
        once=True,
    )
    server_host: str = setting(
        "--server-host",
        "SERVER_HOST",
        parsers.AUTHORITY,
        "",
        "Host for `:authority` and for the certificate, in place of that of the server's address.",
    )
    insecure: bool = setting("--insecure", "INSECURE", parsers.BOOL, False, "Use HTTP/2 without TLS.")
    skip_verify: bool = setting(
        "--skip-verify", "SKIP_VERIFY", parsers.BOOL, False, "Do not verify the server's certificate."
    )
    ca_file: str = setting(
        "--ca-file",
        "SERVER_CA_FILE",
        parsers.FILE,
        "",
        "Trust the authorities in this file, in PEM, in place of the system's, for the server's certificate.",
    )
    fingerprint: tuple[str, ...] = setting(
        "--server-fingerprint",
        "SERVER_FINGERPRINT",
        parsers.PINS,
        (),
        "The server's key, as `pog server` prints it: `sha256//...`. Without `SERVER_CA_FILE` nothing else of the"
        " certificate is verified. Several: one of them.",
    )
    config: str = setting(
        "--config",
        "POG_CONFIG",
        parsers.PATH,
        "",
        "File with settings, exits and rules (TOML). Default: `pog/config.toml` among the user's configuration files.",
    )
    listen: tuple[Endpoint, ...] = setting(
        "--listen",
        "CLIENT_LISTEN",
        ENDPOINTS,
        (Endpoint(Address("127.0.0.1", 18080)), Endpoint(Address("::1", 18080))),
        f"Where the proxy listens, on one or several endpoints: {_LISTEN_HELP}. `unix:/path` is a Unix domain socket,"
        " `https://` before an endpoint makes it an HTTPS proxy.",
    )
    tls_cert: str = setting(
        "--tls-cert",
        "CLIENT_TLS_CERT",
        parsers.FILE,
        "",
        "Certificate of the HTTPS proxy, a file in PEM that is read again on SIGHUP.",
    )
    tls_key: str = setting(
        "--tls-key", "CLIENT_TLS_KEY", parsers.FILE, "", "Its private key, when that is in another file."
    )
    fast_open: bool = setting(
        "--fast-open",
        "FAST_OPEN",
        parsers.BOOL,
        False,
        "Tell a program at once that its tunnel is open, and send its first bytes along with the request: one round"
        " trip less. When the tunnel cannot be opened, the program sees a reset and no reason.",
    )
    via: Via | NoVia | None = setting(
        "--via",
        "SERVER_VIA",
        OPTIONAL_VIA,
        None,
        "Proxy on the way to the server: `http://` (CONNECT) or `socks5://`, with `user:password@` where it asks for"
        " them; `direct` for none. By default `HTTPS_PROXY` and `NO_PROXY` say it.",
    )
    pog_auth: Login | None = setting("", "CLIENT_POG_AUTH", OPTIONAL_LOGIN, None, "Credentials for the server.")
    auth: tuple[AuthItem, ...] = setting(
        "",
        "CLIENT_AUTH_*",
        AUTH,
        (),
        "Users of the client: items made by `pog auth new`. Without any, the client is open.",
    )
    auth_file: ItemFile | None = setting(
        "--auth-file", "CLIENT_AUTH_FILE", ITEM_FILE, None, "File with more items, one per line; read again on SIGHUP."
    )
    iam: str = setting(
        "--iam",
        "IAM",
        parsers.PATH,
        "",
        "Source of ID tokens for a service behind Cloud Run's IAM: `gcloud`, `metadata`, or the file of a key.",
    )
    mux_server_metrics: bool = setting(
        "--mux-server-metrics",
        "MUX_SERVER_METRICS",
        parsers.BOOL,
        False,
        "Include the server's metrics in `/metrics` while a tunnel is open.",
    )
    pages_hosts: tuple[str, ...] = setting(
        "--pages-hosts",
        "PAGES_HOSTS",
        parsers.NAMES,
        (),
        "Names under which `/metrics` and the other pages are shown, besides localhost and IP addresses.",
    )
    exit_wait: float = setting(
        "--exit-wait",
        "EXIT_WAIT",
        parsers.SECONDS,
        5.0,
        "Seconds that a request waits for a connection while the server cannot be reached.",
    )
    head_timeout: float = setting(
        "--head-timeout",
        "HEAD_TIMEOUT",
        parsers.POSITIVE_SECONDS,
        10.0,
        "Timeout for receiving the head of a request, in seconds.",
    )
    via_header: bool = setting(
        "--via-header",
        "VIA",
        parsers.BOOL,
        False,
        "Say in Via that plain HTTP passed here, as RFC 9110 asks; otherwise nothing tells the origin of a proxy.",
    )
    connect_timeout: float = setting(
        "--connect-timeout",
        "CONNECT_TIMEOUT",
        parsers.POSITIVE_SECONDS,
        10.0,
        "Timeout for connecting to the server, in seconds.",
    )
    keepalive: float = setting(
        "--keepalive",
        "KEEPALIVE",
        parsers.SECONDS,
        30.0,
        "Send a PING after this many seconds of silence; 0 disables it.",
    )
    # Cloud Run cuts a call after 3600 s at most, so a connection is retired some time before that.
    max_connection_age: float = setting(
        "--max-connection-age",
        "MAX_CONNECTION_AGE",
        parsers.SECONDS,
        3000.0,
        "Open new tunnels on a new connection after this many seconds; 0 is no limit.",
    )
    max_tunnels: int = setting(
        "--max-tunnels", "MAX_TUNNELS", parsers.COUNT, 10_000, "Maximum number of concurrent tunnels."
    )

    first_flight: bool = setting(
        "--first-flight",
        "FIRST_FLIGHT",
        parsers.BOOL,
        True,
        "Send a ClientHello or a GET again through the next exit when the first one breaks without an answer.",
    )
    state_dir: str = setting(
        "--state-dir",
        "POG_STATE_DIR",
        parsers.PATH,
        "",
        "Where the token of the local interface is kept. Default: `pog` among the user's state files.",
        also=Setting("", "STATE_DIRECTORY", parsers.PATH, "", "The same, as systemd sets it for `StateDirectory=`."),
    )
    # From the configuration file, or what SERVER_ADDR means (config/client.py).
    exits: tuple[ServerExit | BuiltIn, ...] = ()
    rules: tuple[Rule, ...] = ()


NOT_SET = "is not set; it must be {form} (or give {flag})"


def table(cls: type[CommonSettings]) -> Iterator[tuple[str, Setting]]:
    """Field and row, in the order of declaration, inherited ones first."""
    for each in dataclasses.fields(cls):
        if "setting" in each.metadata:
            yield each.name, each.metadata["setting"]


def load(
    cls: type[S],
    environ: Mapping[str, str],
    flags: Mapping[str, object | None],
    file: Mapping[str, str] | None = None,
    origins: dict[str, str] | None = None,
) -> S:
    """Settings from flags, environment and `file`, in that order. Raises SettingsError.

    The keys of `flags` are those of Setting.key; text is parsed, other values are used as they are, None is unset. The
    keys of `file` are the same, its values are texts. `origins` gets what each field was given by, but for defaults: a
    flag, a variable (several are joined), or "file".
    """
    given_by: dict[str, str] = {} if origins is None else origins
    found: dict[str, Any] = {}
    for name, row in table(cls):
        if row.env.endswith("*"):
            found[name] = parse_items(row.env[:-1], environ)
            if found[name]:
                prefix = row.env[:-1]
                given_by[name] = ", ".join(sorted(each for each in environ if each.startswith(prefix)))
        elif given := next(row.given(environ, flags), None):
            given_by[name], parse = given
            found[name] = parse()
        elif file and row.flag and row.key in file:
            given_by[name] = "file"
            found[name] = row.read(row.key, file[row.key])
        elif row.is_required:
            raise SettingsError(row.env, NOT_SET.format(form=row.kind.form, flag=row.flag))
    return cls(**found)


def markdown(cls: type[CommonSettings]) -> str:
    """The settings that a class adds to those it inherits, as a table for the README."""
    inherited = {
        each.name for base in cls.__mro__[1:] if dataclasses.is_dataclass(base) for each in dataclasses.fields(base)
    }
    lines = ["| Variable | Flag | What it is for | Default |", "|---|---|---|---|"]
    for name, row in table(cls):
        for each in row.spellings if name not in inherited else ():
            default = "required" if each.is_required else _code(each.shown_default)
            lines.append(f"| {_code(each.env)} | {_code(each.flag)} | {each.help} | {default} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
