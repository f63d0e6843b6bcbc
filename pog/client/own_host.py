"""Whether a request for a page of our own is meant for us, by its Host field. [pure]

A web page can make a browser ask any address under the page's own name (DNS rebinding) and then read the answer, for to
the browser both have one origin. What gives it away is the name in Host, which no script can choose. So our pages
answer only to

1. an address: there was no name to rebind;
2. localhost: browsers do not ask DNS for it (RFC 6761 section 6.3);
3. a name in PAGES_HOSTS;
4. a request of HTTP/1.0 without Host: every browser sends one.

This is the only place of the rule.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from pog.config.parsers import split_authority
from pog.errors import Failure, FailureKind, Refused

if TYPE_CHECKING:
    from collections.abc import Collection

    from pog.front.base import PageRequest

# RFC 9110 section 15.5.20: this server gives no answers for that authority.
_MISDIRECTED = 421


class OwnHost(NamedTuple):
    """How the one who asks reached this port. `host` is an address without brackets or a name in lower case; `port` is
    None where Host has none, which is the scheme's."""

    host: str
    port: int | None


def own_host(request: PageRequest, names: Collection[str]) -> OwnHost | None:
    """What Host says, when the request is meant for us; None when it says nothing and may.

    `names` are in lower case and without a dot at the end. Raises Refused.
    """
    fields = [value for name, value in request.headers if name == "host"]
    if not fields and request.http_version == "1.0":
        return None
    if len(fields) != 1:  # RFC 9112 section 3.2
        raise Refused(Failure(FailureKind.BAD_REQUEST, "a request has one Host field"))
    try:
        host, port = split_authority(fields[0])
    except ValueError:
        raise Refused(Failure(FailureKind.BAD_REQUEST, "malformed Host field")) from None
    name = host.lower().removesuffix(".")
    if not (_is_address(host) or name == "localhost" or name in names):
        text = "pages are shown only under an IP address, localhost and the names in PAGES_HOSTS, not under this name"
        raise Refused(Failure(FailureKind.BAD_REQUEST, text, _MISDIRECTED))
    return OwnHost(name, port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
