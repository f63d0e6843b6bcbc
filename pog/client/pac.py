"""The proxy auto-configuration file: a function in JavaScript that tells a browser what goes through a proxy. [pure]

Everything goes through this client, but for loopback, for plain host names, which only mean something here, and for
what rules send to the exit `direct`: that the browser does itself. Rules are looked at in their order, as the client
does; where one depends on what the browser does not know (the user, networks of IPv6), the client is asked.

The functions that browsers offer to such a file are not used: isPlainHostName takes an IPv6 address for a plain name in
some of them, and a name must not be resolved here (dnsResolve), for the exit does that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pog.net.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pog.client.own_host import OwnHost
    from pog.config.rules import Rule

CONTENT_TYPE = "application/x-ns-proxy-autoconfig"

# What Host leaves out.
_HTTP_PORT, _HTTPS_PORT = 80, 443

# An IPv6 address may come with brackets or without.
_FILE = """\
function FindProxyForURL(url, host) {{
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "").replace(/\\.$/, "");
  var plain = !/[.:]/.test(host);
  var loopback = /\\.localhost$|^127\\.\\d+\\.\\d+\\.\\d+$|^::1$|^::ffff:127\\.|^::ffff:7f[0-9a-f]{{2}}:/.test(host);
  if (loopback) return "DIRECT";
{rules}  return plain ? "DIRECT" : "{proxy}";
}}
"""
# What is above the last line where there are rules: each is [way, names, suffixes, networks, ports, everything].
_RULES = """\
  var port = /^[a-z]+:\\/\\/(?:[^\\/@]*@)?(?:\\[[^\\]]*\\]|[^\\/:]*)(?::(\\d+))?/.exec(url.toLowerCase());
  port = port && port[1] ? +port[1] : /^(https|wss):/.test(url) ? 443 : 80;
  var parts = /^(\\d+)\\.(\\d+)\\.(\\d+)\\.(\\d+)$/.exec(host);
  var number = parts ? ((+parts[1] * 256 + +parts[2]) * 256 + +parts[3]) * 256 + +parts[4] : -1;
  var rules = {table};
  for (var i = 0; i < rules.length && !/:/.test(host); i++) {{
    var rule = rules[i], found = rule[5] && !plain, j;
    if (parts) {{
      for (j = 0; j < rule[3].length; j++) found = found || (number >= rule[3][j][0] && number <= rule[3][j][1]);
    }} else {{
      found = found || rule[1].indexOf(host) >= 0;
      for (j = 0; j < rule[2].length; j++) found = found || host.slice(-rule[2][j].length) === rule[2][j];
    }}
    var fits = rule[4].length === 0;
    for (j = 0; j < rule[4].length; j++) fits = fits || (port >= rule[4][j][0] && port <= rule[4][j][1]);
    if (found && fits) return rule[0];
  }}
"""


def pac(here: OwnHost, *, tls: bool = False, rules: Sequence[Rule] = ()) -> str:
    """`here` is the address under which the browser found this client, and under which it will find the proxy; with
    `tls` that is an HTTPS proxy, as this port is.

    It comes from the browser and goes into a program: nothing passes but an address or a name as own_host lets them.
    """
    host = here.host.partition("%")[0]  # a scope of IPv6 has no place there
    kind, usual = ("HTTPS", _HTTPS_PORT) if tls else ("PROXY", _HTTP_PORT)
    proxy = f"{kind} {join_host_port(host, here.port or usual)}"
    table = [_row(rule, proxy) for rule in rules if not rule.fronts or "http" in rule.fronts]
    # Where nothing is direct there is nothing to decide.
    decides = any(row[0] != proxy for row in table)
    return _FILE.format(proxy=proxy, rules=_RULES.format(table=json.dumps(table)) if decides else "")


def _row(
    rule: Rule, proxy: str
) -> tuple[str, list[str], list[str], list[tuple[int, int]], list[tuple[int, int]], bool]:
    hosts = rule.hosts
    direct = rule.exits[0] == "direct" and not rule.users and (rule.pick == "first" or len(rule.exits) == 1)
    way = "DIRECT" if direct and len(rule.all_exits) == 1 else f"DIRECT; {proxy}" if direct else proxy
    networks = [
        (int(each.network_address), int(each.broadcast_address)) for each in hosts.networks if each.version == 4
    ]
    suffixes = [f".{suffix}" for suffix in sorted(hosts.suffixes)]
    return way, sorted(hosts.names), suffixes, networks, list(rule.ports), hosts.everything
