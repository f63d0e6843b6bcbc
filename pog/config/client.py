"""The settings of a client: flags, variables, and a configuration file with its exits and rules.

1. `--config` or POG_CONFIG names the file; otherwise the default place is looked at.
2. SERVER_ADDR alone is one exit and one rule. Beside exits of a file that was named it is an error; a file in the
   default place gives way to it.
3. Without rules every request may take every exit, in the order of the file.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.config import parsers
from pog.config.client_settings import ClientSettings
from pog.config.exits import BuiltIn, ServerExit
from pog.config.rules import Rule
from pog.config.settings import NOT_SET, load, table
from pog.config.via import chosen
from pog.errors import SettingsError
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pog.config.file import ConfigFile


@dataclass(frozen=True, slots=True)
class Loaded:
    """`notes` are what the start log should say. `origins` by field, as settings.load gives them. `path` is the file
    that was read, or ""."""

    settings: ClientSettings
    notes: tuple[str, ...]
    origins: Mapping[str, str]
    path: str = ""


def load_client(
    environ: Mapping[str, str], flags: Mapping[str, object | None], default_path: str | None = None
) -> Loaded:
    """Raises SettingsError."""
    notes: list[str] = []
    origins: dict[str, str] = {}
    file = _file(environ, flags, default_path, notes)
    settings = load(ClientSettings, environ, flags, file.settings if file else None, origins)
    if file is None or not (file.exits or file.rules):
        settings = with_proxies(_one_exit(settings, file), environ, notes)
        return Loaded(settings, tuple(notes), origins, file.path if file else "")
    from pog.config.file import all_exits

    notes += [f"{file.path}: {warning}" for warning in file.warnings]
    exits = tuple(_with_limits(exit, settings) for exit in all_exits(file))
    settings = dataclasses.replace(settings, config=file.path, exits=exits, rules=(*file.rules, _last(file, exits)))
    settings = with_proxies(settings, environ, notes)
    return Loaded(settings, tuple(notes), origins, file.path)


def load_listen(
    environ: Mapping[str, str], flags: Mapping[str, object | None], default_path: str | None = None
) -> ClientSettings:
    """The settings of a client, for those who only want to know where it listens: its exits are left out. Raises
    SettingsError."""
    file = _file(environ, flags, default_path, [])
    return load(ClientSettings, environ, flags, file.settings if file else None)


def single_exit(settings: ClientSettings, address: Address) -> ServerExit:
    """What SERVER_ADDR and the variables beside it mean."""
    return ServerExit(
        name=str(address),
        server=address,
        authority=settings.server_host,
        insecure=settings.insecure,
        skip_verify=settings.skip_verify,
        ca_file=settings.ca_file,
        fingerprint=settings.fingerprint,
        login=settings.pog_auth,
        login_from="CLIENT_POG_AUTH" if settings.pog_auth else "",
        iam=settings.iam,
        wait=settings.exit_wait,
        connect_timeout=settings.connect_timeout,
        keepalive=settings.keepalive,
        max_connection_age=settings.max_connection_age,
        via=settings.via,
    )


def with_proxies(settings: ClientSettings, environ: Mapping[str, str], notes: list[str]) -> ClientSettings:
    """With the proxies on the way to each exit: its own, that of the settings, or that of HTTPS_PROXY."""
    listen = [each.at for each in settings.listen if isinstance(each.at, Address)]
    exits = []
    for exit in settings.exits:
        if isinstance(exit, ServerExit):
            via, note = chosen(exit.via, exit.server, listen, environ)
            exit = dataclasses.replace(exit, via=via)
            notes += [note] if note else []
        exits.append(exit)
    return dataclasses.replace(settings, exits=tuple(exits))


def with_server(settings: ClientSettings, address: Address) -> ClientSettings:
    """The settings of a client that knows one server."""
    return dataclasses.replace(settings, server_addr=address, exits=(single_exit(settings, address),), rules=())


def _file(
    environ: Mapping[str, str], flags: Mapping[str, object | None], default_path: str | None, notes: list[str]
) -> ConfigFile | None:
    named = flags.get("config") or environ.get("POG_CONFIG")
    server = "--server-addr" if flags.get("server_addr") else "SERVER_ADDR" if environ.get("SERVER_ADDR") else ""
    if not named:
        path = default_path if default_path is not None else _default_path(environ)
        if not os.path.exists(path):
            return None
        if server:
            notes.append(f"{server} is set, so {path} is not used")
            return None
        named = path
        server = ""
    from pog.config.file import read_file

    file = read_file(str(named), environ)
    known = {row.key for _, row in table(ClientSettings) if row.flag} - {"config", "server_addr"}
    for key in file.settings:
        if key not in known:
            raise SettingsError(f"{file.path}: {key}", "is no setting of a client; see `pog client --help`")
    if server and file.exits:
        raise SettingsError(server, f"must not be set beside [[exits]] of {file.path}")
    return file


def _default_path(environ: Mapping[str, str]) -> str:
    """platformdirs takes some milliseconds to import; on Linux the place is known without it."""
    from pog.config.file import default_path

    return default_path(environ)


def _one_exit(settings: ClientSettings, file: ConfigFile | None) -> ClientSettings:
    match settings.server_addr:
        case None:
            if file is not None:
                raise SettingsError(file.path, "has no [[exits]], and SERVER_ADDR is not set")
            raise SettingsError("SERVER_ADDR", NOT_SET.format(form=parsers.SERVER.form, flag="--server-addr"))
        case BuiltIn() as exit:
            return dataclasses.replace(settings, exits=(exit,))
        case address:
            return dataclasses.replace(settings, exits=(single_exit(settings, address),))


def _with_limits(exit: ServerExit | BuiltIn, settings: ClientSettings) -> ServerExit | BuiltIn:
    """What the file does not say of each exit is the same for all."""
    if isinstance(exit, BuiltIn):
        return exit
    return dataclasses.replace(
        exit,
        wait=settings.exit_wait,
        connect_timeout=exit.connect_timeout or settings.connect_timeout,
        keepalive=settings.keepalive,
        max_connection_age=settings.max_connection_age,
        fail_fast=True,
        via=exit.via or settings.via,
    )


def _last(file: ConfigFile, exits: tuple[ServerExit | BuiltIn, ...]) -> Rule:
    """The rule for what no other matches: the exits that are declared, or else those that rules name."""
    return Rule(name="no rule", exits=tuple(exit.name for exit in file.exits or exits))
