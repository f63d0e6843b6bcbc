"""The configuration file of a client, in TOML: settings, exits and rules.

    max_tunnels = 500                        # any setting, by the name of its flag with _ for -

    [[exits]]
    name = "west"
    server = "pog-west-abc.a.run.app:443"
    auth = "laptop:PASSWORD"                 # or auth_env = "WEST_AUTH"
    via = "http://proxy.corp.example:3128"   # a proxy on the way there

    [[rules]]
    hosts = ["*.corp.example", "10.0.0.0/8"]
    exits = ["direct"]

Strategy: tomllib reads it, msgspec checks keys and types and names the path of what is wrong; what remains (a server's
address, hosts, names of exits) is checked here, by the same parsers as flags and variables. What can be used and is
probably a mistake becomes a warning.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from pog.config import parsers
from pog.config.exits import ON_DEAD, BuiltIn, Login, ServerExit
from pog.config.rules import FRONTS, PICKS, Rule, Rules, covers, parse_hosts, parse_ports
from pog.config.via import VIA
from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Exits that are there without being declared.
BUILT_IN = ("direct", "reject")
_LARGEST_FILE = 4 * 1024 * 1024


class _Tls(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    server_name: str = ""
    skip_verify: bool = False
    ca_file: str = ""
    fingerprint: str | list[str] = []


class _Exit(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    server: str
    auth: str | None = None
    auth_env: str | None = None
    iam: str = ""
    insecure: bool = False
    spread: bool = False
    tls: _Tls = msgspec.field(default_factory=_Tls)
    connect_timeout: float | None = None
    via: str | None = None
    on_dead: str = "keep"


class _Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    hosts: list[str] | None = None
    ports: list[int | str] | None = None
    front: list[str] | None = None
    users: list[str] | None = None
    exits: list[str]
    pick: str = "first"
    fallback: list[str] = []
    retry_refused: bool = False


class _File(msgspec.Struct, kw_only=True):
    exits: list[_Exit] = []
    rules: list[_Rule] = []


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says. `settings` are texts by the key of their row, for settings.load."""

    path: str
    settings: Mapping[str, str]
    exits: tuple[ServerExit, ...]
    rules: tuple[Rule, ...]
    warnings: tuple[str, ...]


def read_file(path: str, environ: Mapping[str, str]) -> ConfigFile:
    """Raises SettingsError that names the file, and the line or the path of the key that is wrong."""
    return _checked(path, _decoded(path, _bytes(path)), environ)


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(path, f"cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST_FILE:
        raise SettingsError(path, "is larger than 4 MiB")
    return data


def _decoded(path: str, data: bytes) -> tuple[_File, dict[str, Any]]:
    """The two lists, and everything else."""
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(path, f"must be text in UTF-8; byte {error.start} is not") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, f"is not TOML: {error}") from None
    lists = {key: content.pop(key) for key in ("exits", "rules") if key in content}
    try:
        return msgspec.convert(lists, _File), content
    except msgspec.ValidationError as error:
        raise SettingsError(path, _readable(error)) from None


def _readable(error: msgspec.ValidationError) -> str:
    """msgspec's words with the path in front: «exits[0].server: ...»."""
    text, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`')}: {text}" if where else text


def _checked(path: str, decoded: tuple[_File, dict[str, Any]], environ: Mapping[str, str]) -> ConfigFile:
    file, others = decoded
    exits: dict[str, ServerExit] = {}
    for index, each in enumerate(file.exits):
        where = f"{path}: exits[{index}]"
        if each.name in exits or each.name in BUILT_IN:
            raise SettingsError(f"{where}.name", f"{each.name!r} is the name of another exit")
        exits[each.name] = _exit(where, each, environ)
    rules = tuple(_rule(f"{path}: rules[{index}]", f"rules[{index}]", each) for index, each in enumerate(file.rules))
    for index, rule in enumerate(rules):
        for name in rule.all_exits:
            if name not in exits and name not in BUILT_IN:
                known = ", ".join([*exits, *BUILT_IN])
                raise SettingsError(f"{path}: rules[{index}].exits", f"there is no exit {name!r}, only {known}")
    settings = {key: _text(f"{path}: {key}", value) for key, value in others.items()}
    return ConfigFile(path, settings, tuple(exits.values()), rules, tuple(_warnings(exits, rules)))


def _text(where: str, value: Any) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(each, str) for each in value):
            return ",".join(value)
        case _:
            raise SettingsError(where, "must be text, a number, true or false, or a list of texts")


def _exit(where: str, given: _Exit, environ: Mapping[str, str]) -> ServerExit:
    server = _parsed(f"{where}.server", parsers.SERVER, given.server)
    if given.auth is not None and given.auth_env is not None:
        raise SettingsError(f"{where}.auth_env", "must not stand beside auth")
    if given.on_dead not in ON_DEAD:
        raise SettingsError(f"{where}.on_dead", f"must be one of {', '.join(ON_DEAD)}, not {given.on_dead!r}")
    login: Login | None = None
    if given.auth is not None:
        login = _parsed(f"{where}.auth", parsers.LOGIN, given.auth)
    elif given.auth_env is not None:
        value = environ.get(given.auth_env)
        if not value:
            raise SettingsError(f"{where}.auth_env", f"the variable {given.auth_env} is not set")
        login = _parsed(f"{where}.auth_env: {given.auth_env}", parsers.LOGIN, value)
    authority = given.tls.server_name and _parsed(f"{where}.tls.server_name", parsers.AUTHORITY, given.tls.server_name)
    pins = [given.tls.fingerprint] if isinstance(given.tls.fingerprint, str) else given.tls.fingerprint
    exit = ServerExit(
        name=given.name,
        server=server,
        authority=authority,
        insecure=given.insecure,
        skip_verify=given.tls.skip_verify,
        ca_file=given.tls.ca_file and _parsed(f"{where}.tls.ca_file", parsers.FILE, given.tls.ca_file),
        fingerprint=_parsed(f"{where}.tls.fingerprint", parsers.PINS, ",".join(pins)) if pins else (),
        login=login,
        login_from=(given.auth_env or "file") if login else "",
        iam=given.iam,
        spread=given.spread,
        via=_parsed(f"{where}.via", VIA, given.via) if given.via is not None else None,
        on_dead=given.on_dead,
    )
    return dataclasses.replace(exit, connect_timeout=given.connect_timeout or 0.0)


def _parsed(where: str, kind: parsers.Kind[Any], text: str) -> Any:
    try:
        return kind.parse(parsers.cleaned(text))
    except ValueError:
        got = "" if kind.secret else f", not {text[:80]!r}"
        raise SettingsError(where, f"must be {kind.form}{got}") from None


def _rule(where: str, name: str, given: _Rule) -> Rule:
    try:
        hosts = parse_hosts(given.hosts) if given.hosts is not None else Rule(name=name).hosts
    except ValueError as error:
        raise SettingsError(f"{where}.hosts", str(error)) from None
    try:
        ports = parse_ports(given.ports or ())
    except ValueError as error:
        raise SettingsError(f"{where}.ports", str(error)) from None
    if given.pick not in PICKS:
        raise SettingsError(f"{where}.pick", f"must be one of {', '.join(PICKS)}, not {given.pick!r}")
    if not given.exits:
        raise SettingsError(f"{where}.exits", "must name at least one exit; to forbid something name reject")
    return Rule(
        name=name,
        hosts=hosts,
        ports=ports,
        fronts=frozenset(given.front or ()),
        users=frozenset(given.users or ()),
        exits=tuple(dict.fromkeys(given.exits)),
        pick=given.pick,
        fallback=tuple(dict.fromkeys(given.fallback)),
        retry_refused=given.retry_refused,
    )


def _warnings(exits: Mapping[str, ServerExit], rules: tuple[Rule, ...]) -> list[str]:
    found, known = [], Rules(rules)
    for index, rule in enumerate(rules):
        if rule.hosts.is_empty:
            found.append(f"{rule.name} has an empty list of hosts and matches nothing")
        earlier = next((each for each in known.before(index) if covers(each, rule)), None)
        if earlier is not None:
            found.append(f"{rule.name} is never used: {earlier.name} matches all that it matches")
        unknown = sorted(rule.fronts - set(FRONTS))
        if unknown:
            fronts = f"{', '.join(FRONTS[:-1])} and {FRONTS[-1]}"
            found.append(f"{rule.name}.front: nothing comes by {', '.join(unknown)}; there are {fronts}")
    used = {name for rule in rules for name in rule.all_exits}
    if rules and not any(rule.hosts.everything and rule.fits(1, "", "") for rule in rules):
        used |= set(exits)  # what no rule matches goes through all of them
    found += [f"exit {name} is in no rule" for name in exits if rules and name not in used]
    return found


def default_path(environ: Mapping[str, str] = os.environ) -> str:
    """Where the file is looked for when nobody names one."""
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("pog", appauthor=False), "config.toml")


def all_exits(file: ConfigFile) -> tuple[ServerExit | BuiltIn, ...]:
    """Those of the file, and those that its rules name without declaring them."""
    named = {name for rule in file.rules for name in rule.all_exits}
    return (*file.exits, *(BuiltIn(name) for name in BUILT_IN if name in named))
