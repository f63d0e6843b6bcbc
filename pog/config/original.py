"""Where defaults differ from those of the Go original: for the start log and docs/from-the-original.md. [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pog.config.server_settings import ServerSettings
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.client_settings import ClientSettings

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Difference(Generic[S]):
    """`what` pog does and the original does not; `setting` is what makes it the same again."""

    what: str
    setting: str
    applies: Callable[[S], bool]


def _on_loopback_only(settings: ClientSettings) -> bool:
    return all(isinstance(each.at, Address) and each.at.is_loopback for each in settings.listen)


SERVER: tuple[Difference[ServerSettings], ...] = (
    Difference(
        "without POG_AUTH_* it opens tunnels on loopback only",
        "POG_OPEN=1",
        lambda settings: not settings.auth_items and not settings.open_proxy,
    ),
    Difference(
        "it connects to no loopback, link-local and metadata addresses",
        "EGRESS_ALLOW=127.0.0.0/8,::1,169.254.0.0/16,fe80::/10,169.254.169.254",
        lambda settings: not settings.egress_allow,
    ),
    Difference(
        "without POG_AUTH_* it serves no stacks",
        "STACKS=1",
        lambda settings: settings.stacks is None and not settings.auth_items,
    ),
    Difference("a line tells how each tunnel ended", "LOG_ENDS=0", lambda settings: settings.log_ends),
)
CLIENT: tuple[Difference[ClientSettings], ...] = (
    Difference("it listens on loopback only", "CLIENT_LISTEN=:18080", _on_loopback_only),
    Difference("a line tells how each tunnel ended", "LOG_ENDS=0", lambda settings: settings.log_ends),
)


def differences(settings: ServerSettings | ClientSettings) -> str:
    """Those that apply, in one line, each with the setting that undoes it; empty when none does."""
    if isinstance(settings, ServerSettings):
        found = [f"{each.what} ({each.setting})" for each in SERVER if each.applies(settings)]
    else:
        found = [f"{each.what} ({each.setting})" for each in CLIENT if each.applies(settings)]
    return "; ".join(found)
