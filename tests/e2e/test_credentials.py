"""What the client's log says of the credentials for its server, before anybody asks for a tunnel."""

import pytest

from tests.helpers import pog
from tests.helpers.items import expiry, item

LOGIN = {"CLIENT_POG_AUTH": "ilya:secret"}


def said(client: pog.End) -> list[str]:
    """The lines on credentials so far."""
    return [line for line in client.program.output().splitlines() if "the credentials of" in line]


@pytest.mark.parametrize(
    "refusing",
    [item("ilya", "another"), item("ilya", "secret", expiry(-1)), item("other", "secret")],
    ids=["password", "expired", "user"],
)
def test_refused_ones_are_one_warning_and_accepted_ones_after_that_one_line(refusing: str) -> None:
    first = pog.server({"POG_AUTH_A": refusing})
    with first.program:
        client = pog.client(first.host_port, LOGIN)
        client.program.wait_line(r"WARNING .*exit .* refuses the credentials of CLIENT_POG_AUTH: .*wrong or expired")
    with client.program:
        again = pog.server({"POG_AUTH_A": refusing, "SERVER_LISTEN": first.host_port})
        with again.program:
            again.program.wait_line("a login.* was refused")
        assert len(said(client)) == 1
        right = pog.server({"POG_AUTH_A": item("ilya", "secret"), "SERVER_LISTEN": first.host_port})
        with right.program:
            client.program.wait_line("accepts the credentials of CLIENT_POG_AUTH now")
        assert len(said(client)) == 2


def test_good_ones_and_none_are_no_line() -> None:
    server = pog.server({"POG_AUTH_A": item("ilya", "secret")})
    with server.program:
        for login in (LOGIN, {}):
            client = pog.client(server.host_port, login)
            with client.program:
                client.program.wait_line(": connected")
            assert not said(client)
