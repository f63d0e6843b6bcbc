"""`pog check`: what targets answer through each exit, and which exit a host would take."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from pog.cli.ask import client_endpoint
from pog.cli.connect import LEVEL, OF_THE_PORT
from pog.cli.group import remembered, say
from pog.cli.options import examples, only_variables, quiet, quiet_environ, rows, seconds, takes
from pog.config.client import load_client, load_listen
from pog.config.client_settings import ClientSettings
from pog.errors import PogError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pog.client.check import Result, Target
    from pog.client.exits.base import RunningExit
    from pog.config.endpoints import Endpoint

CHECK_ROWS = quiet(rows(ClientSettings, *OF_THE_PORT), LEVEL)
# Through one exit at a time; a server may count what one user has open.
_AT_ONCE = 8


@click.command(
    short_help="Show what a site answers through each exit, or which one it would take.",
    epilog=only_variables(CHECK_ROWS)
    + examples(
        "pog check https://example.com/ https://chatgpt.com/",
        "pog check --json --exit west example.com",
        "pog check --explain chatgpt.com",
    ),
)
@click.option("--explain", metavar="HOST[:PORT]", help="Say which rule and exits this host would take, and why.")
@click.option("--front", default="http", help="With --explain: what the program speaks; http, socks5 or socks4.")
@click.option("--user", default="", help="With --explain: the user of the client.")
@click.option("--client", metavar="[HOST]:PORT", help="Where the running client listens.  [CLIENT_LISTEN]")
@click.option("--exit", "names", multiple=True, metavar="NAME", help="Only through this exit; may be repeated.")
@click.option("--limit", type=seconds, default="15", show_default=True, help="Seconds for each exit and target.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes(CHECK_ROWS)
@click.argument("urls", nargs=-1, metavar="URL...")
def check(
    urls: tuple[str, ...],
    explain: str | None,
    front: str,
    user: str,
    client: str | None,
    names: tuple[str, ...],
    limit: float,
    as_json: bool,
    **flags: object,
) -> None:
    """Show what each URL answers through each exit: its status, and the time for tunnel, TLS and the first byte.

    The status is 0 when every URL has a good answer (below 400) through at least one exit, otherwise 1. It connects to
    the exits itself. With --explain the running client is asked, and where there is none the configuration.
    """
    if (explain is None) is not bool(urls):
        raise click.UsageError("give URLs, or --explain HOST")
    if explain is not None:
        found, source = explained(explain, front, user, client, limit, flags)
        say(json.dumps(found | {"source": source}, indent=1) if as_json else "\n".join(in_words(found, source)))
        return
    import asyncio

    from pog.client.check import parse_target
    from pog.observe.messages import set_up_logging
    from pog.process.run import loop_factory

    try:
        targets = [parse_target(url) for url in urls]
    except ValueError as error:
        raise SettingsError("URL", f"must be a URL of http or https, or a host, not {str(error)[:80]!r}") from None
    settings = remembered(load_client(quiet_environ(os.environ, LEVEL), flags | {"listen": ()}).settings)
    known = [exit.name for exit in settings.exits if exit.name != "reject"]
    for name in names:
        if name not in known:
            raise SettingsError("--exit", f"there is no exit {name!r}, only {', '.join(known)}")
    set_up_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        results = runner.run(_checked(settings, names or known, targets, limit, show=not as_json))
    if as_json:
        say(json.dumps([each.as_data() for each in results], indent=1))
    good = {each.target for each in results if each.good}
    raise SystemExit(0 if all(target.url in good for target in targets) else 1)


async def _checked(
    settings: ClientSettings, names: Sequence[str], targets: Sequence[Target], limit: float, *, show: bool
) -> list[Result]:
    """All results, by target and exit; each line is shown as soon as it and those above it are known."""
    import asyncio

    from pog.client.check import check as check_one
    from pog.client.exits.kinds import make_exit
    from pog.observe.metrics import Metrics
    from pog.tunnel.live import Tunnels

    metrics = Metrics("client", settings, Tunnels())
    exits: dict[str, RunningExit] = {
        exit.name: make_exit(exit, settings, metrics) for exit in settings.exits if exit.name in names
    }
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str, target: Target) -> Result:
        async with room:
            return await check_one(exits[name], target, limit)

    results = []
    try:
        for exit in exits.values():
            exit.start()
        async with asyncio.TaskGroup() as group:
            pairs = [(name, target) for target in targets for name in names]
            tasks = [group.create_task(one(name, target), name=f"check {name}") for name, target in pairs]
            line = _Lines([target.url for target in targets], names)
            for task in tasks:
                results.append(await task)
                if show:
                    say(line.of(results[-1]))
    finally:
        for exit in exits.values():
            await exit.close()
        metrics.close()
    return results


class _Lines:
    """The table's lines, whose widths are known before its content; the first one brings the heading."""

    def __init__(self, urls: Sequence[str], exits: Sequence[str]) -> None:
        self._widths = [max(map(len, ["TARGET", *urls])), max(map(len, ["EXIT", *exits])), 6, 9, 9, 10, 0]
        self._last = ""

    def of(self, result: Result) -> str:
        heading = "" if self._last else self._line("TARGET", "EXIT", "STATUS", "OPEN", "TLS", "FIRST BYTE", "") + "\n"
        target = result.target if result.target != self._last else ""
        self._last = result.target
        times = (_time(result.open_ms), _time(result.tls_ms), _time(result.first_byte_ms))
        said = result.error or (f"seen as {result.address}" if result.address else "")
        return heading + self._line(target, result.exit, str(result.status or "-"), *times, said)

    def _line(self, *cells: str) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()


def _time(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.0f} ms"


def explained(
    host: str, front: str, user: str, client: str | None, limit: float, flags: dict[str, object | None]
) -> tuple[dict[str, Any], str]:
    """What the running client would do, else what the configuration says; and which of the two it is."""
    from urllib.parse import urlencode

    from pog.client.api import request_of
    from pog.net.address import parse_host_port

    bare = host.count(":") > 1 and not host.startswith("[")
    try:
        name, port = (host.strip("[]"), 443) if bare or ":" not in host or host.endswith("]") else parse_host_port(host)
        request = request_of(name, str(port), front, user)
    except ValueError as error:
        raise SettingsError("--explain", f"must be a host, or host:port: {error}, not {host[:80]!r}") from None
    query = urlencode({"host": name, "port": port, "front": front, "user": user})
    endpoint = client_endpoint(client) if client else None
    problem = "no client listens on a TCP port"
    for each in [endpoint] if endpoint else _reachable(flags):
        found, problem = _asked(each, f"/api/explain?{query}", limit)
        if found is not None:
            return found, f"the client at {each}"
    if endpoint is not None:
        raise PogError(problem)
    import time

    from pog.client.exits.explain import explain, explain_only
    from pog.client.exits.router import Router
    from pog.config.rules import Rules

    loaded = load_client(quiet_environ(os.environ, LEVEL), flags | {"listen": ()})
    settings = loaded.settings
    source = f"{loaded.path or 'SERVER_ADDR'}; no client runs here, so nothing is known of the exits"
    if not settings.rules:
        return explain_only(request, settings.exits[0].name, "not known"), source
    router = Router(Rules(settings.rules), [exit.name for exit in settings.exits], lambda _: "")
    return explain(request, time.monotonic(), router, lambda _: "not known"), source


def _reachable(flags: dict[str, object | None]) -> Iterator[Endpoint]:
    for endpoint in load_listen(quiet_environ(os.environ, LEVEL), flags).listen:
        yield client_endpoint(str(endpoint))


def _asked(endpoint: Endpoint, path: str, limit: float) -> tuple[dict[str, Any] | None, str]:
    """What the client's local interface answers, or why it did not: only that nothing listens is no error."""
    import asyncio

    from pog.client.readiness import NoClient, page
    from pog.process.state import read_token, state_place

    named = os.environ.get("POG_STATE_DIR") or os.environ.get("STATE_DIRECTORY") or ""
    try:
        token = read_token(state_place(named))
    except OSError:
        token = ""
    try:
        status, body = asyncio.run(page(endpoint, path, verify=False, limit=limit, token=token))
    except NoClient as error:
        return None, str(error)
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if status == 200 and isinstance(found, dict):
        return found, ""
    said = found.get("error", "") if isinstance(found, dict) else "is it a pog client?"
    raise PogError(f"{endpoint}: HTTP status {status}: {said}" if status else f"{endpoint}: not HTTP; {said}")


def in_words(found: dict[str, Any], source: str) -> Iterator[str]:
    from pog.cli.config import in_line
    from pog.cli.options import aligned

    rule = found["rule"]
    chosen = f"{rule['name']} ({in_line(rule)})" if rule else "no rules: there is one exit"
    yield f"{found['destination']} by {found['front']}: {chosen}"
    lines = [(str(number), each["exit"], each["state"], each["why"]) for number, each in enumerate(found["exits"], 1)]
    yield from aligned(lines)
    if "note" in found:
        yield f"note: {found['note']}"
    yield f"(from {source})"
