"""The events of a tunnel, passed on from one place to the registry, the metrics and the access log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pog.errors import go_name

if TYPE_CHECKING:
    from grpclib.const import Status

    from pog.errors import Failure
    from pog.observe.accesslog import AccessLog
    from pog.observe.endings import Role
    from pog.observe.metrics import Metrics
    from pog.tunnel.live import TunnelRecord, Tunnels
    from pog.tunnel.relay import Relay


class TunnelObserver:
    """Follows each tunnel of one program: `requested`, then `refused`, or `opened` and `ended`."""

    def __init__(self, role: Role, tunnels: Tunnels, metrics: Metrics, log: AccessLog) -> None:
        self.tunnels = tunnels
        self.metrics = metrics
        self._log = log
        self._server = role == "server"

    def requested(self, record: TunnelRecord) -> None:
        self.tunnels.opening += 1

    def opened(self, record: TunnelRecord, relay: Relay) -> None:
        """The tunnel is open, and the peer is about to be told; `relay` joins its two ends."""
        record.opened_after = time.perf_counter() - record.began
        record.relay = relay
        record.code, record.status = "OK" if self._server else "200", 200
        tunnels = self.tunnels
        tunnels.opening -= 1
        tunnels.add(record)
        self.metrics.tunnel_opened(record.opened_after)
        self._log.answered(record, opened=True)

    def refused(self, record: TunnelRecord, failure: Failure, status: Status | None = None) -> None:
        """There is no tunnel. `status` is that of the call, where it is another one than the failure's own."""
        record.failure = failure
        record.status = failure.http_status
        record.code = go_name(status or failure.wording.grpc_status) if self._server else str(record.status)
        self.tunnels.opening -= 1
        self.metrics.refused(record.code)
        self._log.answered(record, opened=False)

    def ended(self, record: TunnelRecord) -> None:
        """Once for every `opened`; a relay that has not ended by itself was cancelled."""
        assert record.relay is not None
        self.tunnels.remove(record)
        self.metrics.tunnel_ended(record.relay)
        self._log.ended(record)
