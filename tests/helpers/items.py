"""Auth items as an operator would put them into POG_AUTH_* and CLIENT_AUTH_*, with a cheap hash."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import bcrypt

# The least that bcrypt takes; a real item has 10 or more.
_ROUNDS = 4


def expiry(hours: float) -> datetime:
    """This number of hours from now, in whole seconds."""
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


def item(name: str, password: str, expires: datetime | None = None) -> str:
    expires = expires or expiry(1)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode()
    return json.dumps({"name": name, "hash": hashed, "exp_date": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})
