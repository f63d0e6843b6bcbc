"""What a shell is told: `pog env` and `pog completion`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pog.cli.group import say
from pog.cli.options import examples, rows, takes
from pog.cli.variables import SHELLS, proxy_url, proxy_variables, shell_of
from pog.config.client import load_listen
from pog.config.client_settings import ClientSettings
from pog.errors import SettingsError
from pog.net.address import Address

if TYPE_CHECKING:
    from pog.config.endpoints import Endpoint

ENV_ROWS = [row for row in rows(ClientSettings) if row.key in ("listen", "config")]
# Docker's name for the machine that a container runs on.
_DOCKERS_HOST = "host.docker.internal"


@click.command(
    short_help="Print the variables that lead through a client.",
    epilog=examples(
        'eval "$(pog env)"',
        "pog env --shell fish | source",
        "pog env --shell powershell | Out-String | Invoke-Expression",
        "docker run --network host --env-file <(pog env --shell docker) IMAGE",
    ),
)
@click.option("--shell", type=click.Choice([*SHELLS]), help="For whom the lines are.  [default: that of $SHELL]")
@takes(ENV_ROWS)
def env(shell: str | None, **flags: object) -> None:
    """Print lines for a shell that set the variables by which programs know their proxy: a client that runs here.

    They are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper and in lower case. Loopback and what NO_PROXY
    exempts already are exempt.
    """
    shell = shell or shell_here()
    settings = load_listen(os.environ, flags)
    endpoint = reachable(settings.listen)
    url = proxy_url(endpoint, this_machine=_DOCKERS_HOST if shell == "docker" else "127.0.0.1")
    for name, value in proxy_variables(url, os.environ).items():
        say(SHELLS[shell](name, value))
    # On a terminal; to a shell it would be noise at every start.
    if settings.auth_items and sys.stdout.isatty():
        click.echo("The client wants credentials: write http://USER:PASSWORD@... in the values.", err=True)


def shell_here() -> str:
    """The shell that runs us. Raises SettingsError for one that is not known."""
    path = os.environ.get("SHELL", "")
    if not path:
        return "powershell" if os.name == "nt" else "sh"
    if shell := shell_of(path):
        return shell
    raise SettingsError("SHELL", f"names a shell that is not known, {path!r}; choose with --shell")


def reachable(endpoints: tuple[Endpoint, ...]) -> Endpoint:
    """The endpoint to tell programs of: by TCP, and best without TLS, which few of them know. Raises SettingsError."""
    found = [each for each in endpoints if isinstance(each.at, Address)]
    if not found:
        raise SettingsError("CLIENT_LISTEN", "has no address, and the variables cannot name a Unix domain socket")
    endpoint = min(found, key=lambda each: each.tls)
    if isinstance(endpoint.at, Address) and not endpoint.at.port:
        raise SettingsError("CLIENT_LISTEN", f"leaves the port of {endpoint} to chance; say it with --listen")
    return endpoint


@click.command(
    short_help="Print what makes a shell complete pog's words.",
    epilog=examples('eval "$(pog completion bash)"', "pog completion fish > ~/.config/fish/completions/pog.fish"),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the lines that make SHELL complete the commands and options of pog; for its start file."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    say(kind(root.command, {}, "pog", "_POG_COMPLETE").source())
