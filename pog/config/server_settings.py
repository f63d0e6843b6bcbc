"""The settings that only the server has."""

from dataclasses import dataclass

from pog.config import parsers
from pog.config.auth_items import ITEM_FILE, AuthItem, ItemFile
from pog.config.options import Setting, setting
from pog.config.parsers import Kind, Network
from pog.config.settings import AUTH, LISTEN_HELP, CommonSettings, Guarded
from pog.net.address import Address

OPTIONAL_BOOL: Kind[bool | None] = parsers.BOOL
OPTIONAL_LISTEN: Kind[Address | None] = parsers.LISTEN


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(CommonSettings, Guarded):
    """What only the server has."""

    listen: Address | None = setting(
        "--listen",
        "SERVER_LISTEN",
        OPTIONAL_LISTEN,
        None,
        f"Where to listen: {LISTEN_HELP}. Default: `:8080`, or `127.0.0.1:8080` without `POG_AUTH_*` and `POG_OPEN`.",
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
