"""Plays the connection under a front: sends the steps given, reads outcomes up to the one that ends the talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.front.base import NEED_MORE, Credentials, Outcome, Reply, TunnelWanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pog.front.base import Front


@dataclass(frozen=True, slots=True)
class Talk:
    """What the user was sent, the credentials that it gave, and the last outcome."""

    sent: bytes
    credentials: tuple[str, ...]
    outcome: Outcome


def talk(front: Front, chunks: Iterable[bytes], accepts: Callable[[str], bool] = lambda _: True) -> Talk:
    """Feeds the chunks until an outcome ends the talk. Refused credentials end it too; bytes behind a wanted tunnel are
    part of its early bytes, as in the connection."""
    sent, credentials, early = b"", [], b""
    outcome: Outcome = NEED_MORE
    for chunk in chunks:
        if outcome is not NEED_MORE:
            early += chunk
            continue
        outcome = front.receive_data(chunk)
        while isinstance(outcome, Reply | Credentials):
            if isinstance(outcome, Reply):
                sent += outcome.data
            else:
                credentials.append(outcome.authorization)
                accepted = accepts(outcome.authorization)
                sent += front.authenticated(accepted)
                if not accepted:
                    return Talk(sent, tuple(credentials), outcome)
            outcome = front.receive_data(b"")
    if isinstance(outcome, TunnelWanted):
        outcome = outcome._replace(early=outcome.early + early)
    return Talk(sent, tuple(credentials), outcome)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """The bytes one at a time, and in two pieces in every way."""
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(len(data)):
        yield [data[:cut], data[cut:]]
