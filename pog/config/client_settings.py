"""The settings that only the client has."""

from dataclasses import dataclass

from pog.config import parsers
from pog.config.auth_items import ITEM_FILE, AuthItem, ItemFile
from pog.config.endpoints import ENDPOINTS, Endpoint
from pog.config.exits import BuiltIn, Login, NoVia, ServerExit, Via
from pog.config.options import Setting, setting
from pog.config.parsers import Kind
from pog.config.rules import Rule
from pog.config.settings import AUTH, LISTEN_HELP, CommonSettings, Guarded
from pog.config.via import OPTIONAL_VIA
from pog.net.address import Address

OPTIONAL_LOGIN: Kind[Login | None] = parsers.LOGIN


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
        f"Where the proxy listens, on one or several endpoints: {LISTEN_HELP}. `unix:/path` is a Unix domain socket,"
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
