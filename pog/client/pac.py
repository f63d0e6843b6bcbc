"""The proxy auto-configuration file: a function in JavaScript that tells a browser what goes through a proxy. [pure]

Everything goes through this client, but for loopback and for plain host names, which only mean something here.

The functions that browsers offer to such a file are not used: isPlainHostName takes an IPv6 address for a plain name in
some of them, and a name must not be resolved here (dnsResolve), for the exit does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pog.net.address import join_host_port

if TYPE_CHECKING:
    from pog.client.own_host import OwnHost

CONTENT_TYPE = "application/x-ns-proxy-autoconfig"

# What Host leaves out.
_HTTP_PORT, _HTTPS_PORT = 80, 443

# An IPv6 address may come with brackets or without.
_FILE = """\
function FindProxyForURL(url, host) {{
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "").replace(/\\.$/, "");
  var plain = !/[.:]/.test(host);
  var loopback = /\\.localhost$|^127\\.\\d+\\.\\d+\\.\\d+$|^::1$|^::ffff:127\\.|^::ffff:7f[0-9a-f]{{2}}:/.test(host);
  return plain || loopback ? "DIRECT" : "{proxy}";
}}
"""


def pac(here: OwnHost, *, tls: bool = False) -> str:
    """`here` is the address under which the browser found this client, and under which it will find the proxy; with
    `tls` that is an HTTPS proxy, as this port is.

    It comes from the browser and goes into a program: nothing passes but an address or a name as own_host lets them.
    """
    host = here.host.partition("%")[0]  # a scope of IPv6 has no place there
    kind, usual = ("HTTPS", _HTTPS_PORT) if tls else ("PROXY", _HTTP_PORT)
    return _FILE.format(proxy=f"{kind} {join_host_port(host, here.port or usual)}")
