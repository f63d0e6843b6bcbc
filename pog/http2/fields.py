"""Which fields a message may have: those we send, and those we receive (RFC 9113 sections 8.2 and 8.3). [pure]

A message that breaks these rules is malformed. That is an error of its stream (section 8.1.1), and never one of the
connection: behind a front the next stream is another user's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Headers = list[tuple[str, str]]
Field = tuple[bytes, bytes]

# Section 8.2.2: these belong to a connection of HTTP/1.1.
_CONNECTION_FIELDS = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
# Section 8.2.1: no upper case, no space, no colon, nothing that is not visible ASCII.
_NAME = re.compile(rb"[!-9;-@\[-~]+")
_ILLEGAL_IN_VALUES = re.compile(rb"[\0\r\n]")
_BLANK = b" \t"
# RFC 9110 section 5.6.2.
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 15.
_STATUS = re.compile(rb"[1-9][0-9]{2}")
# Digits of a number of 64 bits.
_LONGEST_LENGTH = 19
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

# :protocol needs a setting that we do not send (RFC 8441 section 3).
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_RESPONSE_PSEUDO = frozenset({b":status"})
_TRAILERS_PSEUDO: frozenset[bytes] = frozenset()


def check_request(fields: Iterable[Field]) -> None:
    """Raises ProtocolError for a request that is malformed."""
    pseudo, hosts = _check_received(fields, _REQUEST_PSEUDO)
    method = pseudo.get(b":method", b"")
    if not _TOKEN.fullmatch(method):
        raise ProtocolError(f"a request with the method {method!r}")
    if method == b"CONNECT":
        # Section 8.5: it has an authority and nothing else.
        if not pseudo.get(b":authority") or pseudo.keys() & {b":scheme", b":path"}:
            raise ProtocolError("CONNECT takes :authority, and neither :scheme nor :path")
    else:
        scheme, path = pseudo.get(b":scheme"), pseudo.get(b":path", b"")
        if scheme is None:
            raise ProtocolError("a request without :scheme")
        if not path.startswith(b"/") and not (path == b"*" and method == b"OPTIONS"):
            raise ProtocolError(f"a request with the path {path!r}")
    _check_authority(pseudo, hosts)


def check_response(fields: Iterable[Field]) -> None:
    """Raises ProtocolError for the head of a response that is malformed."""
    pseudo, _ = _check_received(fields, _RESPONSE_PSEUDO)
    status = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(status):
        raise ProtocolError(f"a response with the status {status!r}")


def check_trailers(fields: Iterable[Field]) -> None:
    """Raises ProtocolError for trailers that are malformed."""
    _check_received(fields, _TRAILERS_PSEUDO)


def _check_received(fields: Iterable[Field], allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """What every section obeys; returns its pseudo-header fields and the values of Host."""
    pseudo: dict[bytes, bytes] = {}
    hosts: list[bytes] = []
    regular = False
    for name, value in fields:
        if value and (value[0] in _BLANK or value[-1] in _BLANK or _ILLEGAL_IN_VALUES.search(value)):
            raise ProtocolError(f"an illegal value of the field {name!r}")
        if name[:1] == b":":
            if regular or name in pseudo or name not in allowed:
                raise ProtocolError(f"the pseudo-header field {name!r}, which is unknown here, repeated, or too late")
            pseudo[name] = value
            continue
        regular = True
        if not _NAME.fullmatch(name):
            raise ProtocolError(f"an illegal field name {name!r}")
        if name in _CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
            raise ProtocolError(f"the field {name!r}, which belongs to a connection of HTTP/1.1")
        if name == b"host":
            hosts.append(value)
    return pseudo, hosts


def _check_authority(pseudo: dict[bytes, bytes], hosts: Sequence[bytes]) -> None:
    """Neither of the two has to be there: the authority of a request that has none is not invented (section 8.3.1)."""
    if len(hosts) > 1:  # RFC 9110 section 7.2
        raise ProtocolError("several fields Host")
    authority = pseudo.get(b":authority")
    if hosts and authority is not None:
        scheme = pseudo.get(b":scheme", b"")
        if _normal(hosts[0], scheme) != _normal(authority, scheme):
            raise ProtocolError("Host and :authority differ")


def _normal(authority: bytes, scheme: bytes) -> bytes:
    """For comparison (RFC 9113 section 8.3.1, RFC 3986 section 6.2)."""
    return authority.lower().removesuffix(_DEFAULT_PORTS.get(scheme, b""))


def content_length(fields: Iterable[Field]) -> int | None:
    """What the message says of the length of its content in bytes. Raises ProtocolError for what is no length, and for
    two that differ (RFC 9110 section 8.6)."""
    found: int | None = None
    for name, value in fields:
        if name == b"content-length":
            # Python refuses to read a number of thousands of digits, and no content is that long.
            if not value.isdigit() or len(value) > _LONGEST_LENGTH or found not in (None, int(value)):
                raise ProtocolError(f"the content-length {value[:_LONGEST_LENGTH]!r}")
            found = int(value)
    return found


def joined_cookies(fields: list[Field]) -> list[Field]:
    """The fields, with what may have been split for compression in one piece at the end (section 8.2.3)."""
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) < 2:
        return fields
    return [*(field for field in fields if field[0] != b"cookie"), (b"cookie", b"; ".join(cookies))]


def check_sent(headers: Headers) -> None:
    """Raises ValueError for a field that may not be sent (sections 8.2.1 and 8.2.2)."""
    regular = False
    for name, value in headers:
        raw = name.encode()
        if not _NAME.fullmatch(raw.removeprefix(b":")):
            raise ValueError(f"illegal header name {name!r}")
        if raw in _CONNECTION_FIELDS or (name == "te" and value != "trailers"):
            raise ValueError(f"header {name!r} belongs to a connection of HTTP/1.1")
        if "\0" in value or "\r" in value or "\n" in value:
            raise ValueError(f"illegal value of header {name!r}")
        if name[0] != ":":
            regular = True
        elif regular:
            raise ValueError(f"pseudo-header {name!r} after a regular one")
