"""One exit that is all the replicas behind a name: each address is an exit of its own, and tunnels go round them.

For servers behind a name that resolves to every one of them (a headless Service of Kubernetes). The name is resolved
again and again: a new address gets tunnels once it is connected; one that has left the name gets no more, and what is
open there goes on. A replica that cannot take a tunnel is passed over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from typing import TYPE_CHECKING

from pog.client.exits.grpc import GrpcExit
from pog.errors import Blame, Failure, FailureKind, LimitReached
from pog.net.address import Address
from pog.net.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.exits import ServerExit
    from pog.observe.metrics import Metrics
    from pog.tunnel.request import Attempt, Tunnel, TunnelRequest

log = logging.getLogger(__name__)

# A name is resolved again after this time, a fifth more or less so that many clients do not ask in step. Seconds.
RESOLVE_INTERVAL = 30.0
# Until it was resolved for the first time, and as long as it has no address.
_RETRY_INTERVAL = 2.0


class SpreadExit:
    """`settings` as for a single server; `interval` is in seconds. `on_dead` is called after each dial that fails while
    all replicas are down."""

    def __init__(
        self,
        settings: ServerExit,
        metrics: Metrics,
        resolver: Resolver | None = None,
        interval: float = RESOLVE_INTERVAL,
        on_dead: Callable[[], None] | None = None,
    ) -> None:
        # The certificate and :authority are those of the name, whatever the address.
        authority = settings.authority or str(settings.server)
        self._settings = dataclasses.replace(settings, authority=authority, fail_fast=True)
        self._metrics = metrics
        self._resolver = resolver or Resolver()
        self._interval = interval
        self._on_dead = on_dead
        self._replicas: dict[Address, GrpcExit] = {}
        self._turn = 0
        self._problem = "the name is not resolved yet"
        self._task: asyncio.Task[None] | None = None
        self.name = settings.name

    @property
    def problem(self) -> str:
        """Why no replica can take a tunnel; empty when one can."""
        problems = [replica.problem for replica in self._replicas.values()]
        return "; ".join(problems) if all(problems) and problems else "" if problems else self._problem

    @property
    def down(self) -> bool:
        return all(replica.down for replica in self._replicas.values())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"resolve {self.name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await asyncio.gather(*(replica.close() for replica in self._replicas.values()))

    async def _run(self) -> None:
        while True:  # nobody could set an event: names change unseen
            found = await self._resolved()
            if found:
                self._update(found)
            pause = self._interval if self._replicas else min(_RETRY_INTERVAL, self._interval)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))

    async def _resolved(self) -> set[Address]:
        server = self._settings.server
        try:
            found = await self._resolver.resolve(server.host, server.port)
        except (OSError, UnicodeError, LimitReached) as error:
            self._problem = f"{server.host}: {error}"
            log.warning("exit %s: %s", self.name, self._problem)
            return set()
        return {Address(info[4][0], server.port) for info in found}

    def _update(self, addresses: set[Address]) -> None:
        for address in addresses - set(self._replicas):
            log.info("exit %s: a replica at %s", self.name, address)
            one = dataclasses.replace(self._settings, name=f"{self.name} ({address})", server=address)
            self._replicas[address] = replica = GrpcExit(one, self._metrics, self._replica_is_dead)
            replica.start()
        for address in set(self._replicas) - addresses:
            log.info("exit %s: %s has left the name; its tunnels go on", self.name, address)
            self._replicas.pop(address).retire()

    def _replica_is_dead(self) -> None:
        if self.down and self._on_dead is not None:
            self._on_dead()

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Attempt:
        """Begins with the replica whose turn it is; those that are down come last."""
        replicas = list(self._replicas.values())
        self._turn += 1
        turn = self._turn % len(replicas) if replicas else 0
        order = sorted([*replicas[turn:], *replicas[:turn]], key=lambda replica: replica.down)
        return _Round(self.name, order, request, done, self._problem)


class _Round:
    """The replicas of one request, tried in turn."""

    def __init__(
        self,
        name: str,
        order: list[GrpcExit],
        request: TunnelRequest,
        done: Callable[[Tunnel | Failure], None],
        problem: str,
    ) -> None:
        self._name = name
        self._order = order
        self._request = request
        self._done: Callable[[Tunnel | Failure], None] | None = done
        self._attempt: Attempt | None = None
        self._finished = 0
        self._next(Failure(FailureKind.EXIT_UNAVAILABLE, problem))

    def cancel(self) -> None:
        self._done = None
        if self._attempt is not None:
            self._attempt.cancel()

    def _next(self, failure: Failure) -> None:
        if not self._order:
            self._finish(failure)
            return
        replica = self._order.pop(0)
        number = self._finished
        attempt = replica.open(self._request, self._tried)
        if number == self._finished and self._done is not None:
            self._attempt = attempt

    def _tried(self, result: Tunnel | Failure) -> None:
        self._finished += 1
        self._attempt = None
        if self._done is None:
            return
        if isinstance(result, Failure) and result.wording.blame in (Blame.EXIT, Blame.US):
            self._next(result)
            return
        if not isinstance(result, Failure):
            result.exit = self._name
        self._finish(result)

    def _finish(self, result: Tunnel | Failure) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)
