"""The local interface on the client's port: what goes on, as JSON; and to end a tunnel.

    GET     /api/tunnels                       those that are open
    DELETE  /api/tunnels/ID                    ends one; needs the token
    GET     /api/exits                         all of them, and how they are
    GET     /api/rules                         in their order
    GET     /api/explain?host=H[&port=P][&front=F][&user=U]    which exits would be tried, and why

It shows who goes where. So only programs on this machine may read it without the token, and only where the client
listens nowhere else and asks for no credentials: then all its users are here, and one. (By a tunnel through the exit
`direct` a user from elsewhere comes from this machine, too.) The token goes in `Authorization: Bearer TOKEN` (RFC 6750
section 2.1).
"""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from pog.client.exits.explain import exit_states, explain, explain_only, state_of
from pog.client.exits.routed import RoutedExit
from pog.client.page_answer import Page
from pog.config.describe import describe_rule
from pog.net.address import destination_of
from pog.observe.endings import up_and_down
from pog.tunnel.ended import Reason
from pog.tunnel.request import ANONYMOUS, TunnelRequest, User

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pog.client.exits.base import RunningExit
    from pog.config.rules import Rule
    from pog.front.base import PageRequest
    from pog.tunnel.live import TunnelRecord, Tunnels

PREFIX = "/api/"
_FRONTS = ("http", "socks5", "socks4")


class ApiError(Exception):
    """What was asked for cannot be answered; `status` is HTTP's."""

    def __init__(self, status: int, text: str, **fields: str) -> None:
        super().__init__(text)
        self.status = status
        self.fields = tuple((name.replace("_", "-"), value) for name, value in fields.items())


class Api:
    """`token` lets everybody who has it read and act."""

    def __init__(self, tunnels: Tunnels, exit: RunningExit, token: str, *, guarded: bool) -> None:
        self._tunnels = tunnels
        self._exit = exit
        self._token = token
        # Whether nobody reads without the token.
        self.guarded = guarded

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that count now; none where there is no choice."""
        return self._exit.router.rules.rules if isinstance(self._exit, RoutedExit) else ()

    def answer(self, request: PageRequest, *, local: bool) -> Page:
        """`local`: whether the one who asks is on this machine."""
        try:
            found = self._answer(request, local)
        except ApiError as error:
            return _page(error.status, {"error": str(error)}, error.fields)
        return _page(200, found)

    def _answer(self, request: PageRequest, local: bool) -> Any:
        """Raises ApiError."""
        knows = self._knows_token(request)
        if not (knows or (local and not self.guarded)):
            raise _unauthorized("to read this from here")
        path, _, query = request.target.partition("?")
        if path.startswith("/api/tunnels/"):
            if request.method != "DELETE":
                raise ApiError(405, "only DELETE", Allow="DELETE")
            if not knows:
                raise _unauthorized("to end a tunnel")
            return self._end(path.removeprefix("/api/tunnels/"))
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "only GET and HEAD", Allow="GET, HEAD")
        match path:
            case "/api/tunnels":
                return sorted(map(_tunnel, self._tunnels), key=lambda each: each["id"])
            case "/api/exits":
                return exit_states(*self._exits(), time.monotonic())
            case "/api/rules":
                return [describe_rule(rule) for rule in self.rules]
            case "/api/explain":
                return self._explain(query)
            case _:
                raise ApiError(404, "there is /api/tunnels, /api/exits, /api/rules and /api/explain?host=HOST")

    def _knows_token(self, request: PageRequest) -> bool:
        scheme, _, given = request.values("authorization").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token.encode())

    def _end(self, text: str) -> Any:
        record = next((each for each in self._tunnels if str(each.id) == text), None)
        if record is None or record.relay is None:
            raise ApiError(404, "there is no such tunnel")
        found = _tunnel(record)
        record.relay.stop(Reason.STOPPED)
        return found

    def _exits(self) -> tuple[Mapping[str, RunningExit], Any]:
        exit = self._exit
        if isinstance(exit, RoutedExit):
            return {name: member.exit for name, member in exit.members.items()}, exit.router
        return {exit.name: exit}, None

    def _explain(self, query: str) -> Any:
        given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        try:
            request = request_of(**given)
        except (TypeError, ValueError) as error:
            raise ApiError(400, f"host=HOST, and if need be port, front and user: {error}") from None
        if not isinstance(self._exit, RoutedExit):
            return explain_only(request, self._exit.name, state_of(self._exit))
        members = self._exit.members
        return explain(request, time.monotonic(), self._exit.router, lambda name: state_of(members[name].exit))


def request_of(host: str, port: str = "443", front: str = "http", user: str = "") -> TunnelRequest:
    """Raises ValueError."""
    if front not in _FRONTS:
        raise ValueError(f"front must be one of {', '.join(_FRONTS)}")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    return TunnelRequest(destination_of(host, number), User(user) if user else ANONYMOUS, front, "-")


def _tunnel(record: TunnelRecord) -> dict[str, Any]:
    relay, tunnel = record.relay, record.tunnel
    assert relay is not None
    up, down = up_and_down("client", relay.from_local, relay.from_tunnel)
    return {
        "id": record.id,
        "destination": record.destination_text,
        "user": record.user_text,
        "remote": record.remote,
        "front": record.front,
        "exit": record.exit,
        "rule": record.rule,
        "why": tunnel.reason if tunnel else "",
        "state": relay.state.value,
        "since": round(record.since, 3),
        "bytes_up": up,
        "bytes_down": down,
    }


def _unauthorized(what: str) -> ApiError:
    return ApiError(401, f"the token is needed {what}", WWW_Authenticate='Bearer realm="pog"')


def _page(status: int, found: Any, fields: tuple[tuple[str, str], ...] = ()) -> Page:
    body = json.dumps(found, indent=1, ensure_ascii=True) + "\n"
    return Page(status, "application/json", body.encode(), (("Cache-Control", "no-store"), *fields))
