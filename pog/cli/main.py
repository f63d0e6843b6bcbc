"""The command line: one group, to which every command is one line. What is heavy is imported inside a command."""

from __future__ import annotations

import click

import pog
from pog.cli.ask import health, stacks
from pog.cli.auth import auth, genauthitem
from pog.cli.check import check
from pog.cli.config import config
from pog.cli.connect import connect
from pog.cli.group import Pog
from pog.cli.options import examples
from pog.cli.programs import client, server, up
from pog.cli.run import run
from pog.cli.shell import completion, env


@click.group(
    cls=Pog,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "pog up",
        "POG_AUTH_LAPTOP='{\"name\":...}' pog server --port 8080",
        "CLIENT_POG_AUTH=laptop:PASSWORD pog client --server-addr pog.example.com:443",
        "pog client --help",
    ),
)
@click.version_option(pog.__version__, "-V", "--version", prog_name="pog")
def main() -> None:
    """Proxy over gRPC: an HTTP proxy on this side, a gRPC server with a good address on the other."""


for command in (up, server, client, run, env, config, check, connect, health, stacks, auth, genauthitem, completion):
    main.add_command(command)
