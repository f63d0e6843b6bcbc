"""A throw-away certificate authority, and the origin's and a user's side of TLS under it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.user import Answer

NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """Signs one server certificate for loopback; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        self._cert = ca.issue_cert(*NAMES)
        self.ca_file = folder / "ca.pem"
        self.cert_file = folder / "cert.pem"
        self.key_file = folder / "key.pem"
        ca.cert_pem.write_to_path(str(self.ca_file))
        self._cert.private_key_pem.write_to_path(str(self.key_file))
        self.cert_file.write_bytes(b"".join(blob.bytes() for blob in self._cert.cert_chain_pems))

    def server_context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._cert.configure_cert(context)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def user_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


def tls_exchange(tunnel: Answer, context: ssl.SSLContext, host: str, request: bytes) -> bytes:
    """TLS with the origin inside a tunnel: sends `request`, gives back all of the answer."""
    assert not tunnel.rest
    with context.wrap_socket(tunnel.sock, server_hostname=host) as secure:
        secure.sendall(request)
        data = bytearray()
        while part := secure.recv(1 << 16):
            data += part
        return bytes(data)
