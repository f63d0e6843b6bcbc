"""Exits and rules as plain data, for people and programs to read: without secrets, in words of the file. [pure]"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from pog.config.auth_items import AuthItem, ItemFile
from pog.config.exits import ON_DEAD, BuiltIn, Login, NoVia, ServerExit, Via
from pog.config.options import shown

if TYPE_CHECKING:
    from pog.config.rules import Hosts, Rule


def describe_exit(exit: ServerExit | BuiltIn) -> dict[str, Any]:
    """What is not set is left out."""
    match exit:
        case BuiltIn(name):
            return {"name": name, "kind": "built in"}
        case ServerExit():
            found = {
                "name": exit.name,
                "kind": "server",
                "server": str(exit.server),
                "server_name": exit.authority,
                "tls": "off" if exit.insecure else "not verified" if exit.skip_verify else "on",
                "auth": f"{exit.login} ({exit.login_from})" if exit.login else "",
                "iam": exit.iam,
            }
            if exit.spread:
                found["spread"] = "on"
            if exit.via is not None:
                found["via"] = str(exit.via)
            if exit.on_dead != ON_DEAD[0]:
                found["on_dead"] = exit.on_dead
            return {key: value for key, value in found.items() if value}
        case _:
            assert_never(exit)


def describe_rule(rule: Rule) -> dict[str, Any]:
    """What is not set is left out."""
    found = {
        "name": rule.name,
        "hosts": describe_hosts(rule.hosts),
        "ports": [str(low) if low == high else f"{low}-{high}" for low, high in rule.ports],
        "front": sorted(rule.fronts),
        "users": sorted(rule.users),
        "exits": list(rule.exits),
        "pick": rule.pick,
        "fallback": list(rule.fallback),
        "retry_refused": rule.retry_refused,
    }
    return {key: value for key, value in found.items() if value or key == "hosts"}


def describe_hosts(hosts: Hosts) -> list[str]:
    """As in the file, by kind."""
    names = [*sorted(hosts.names), *(f"*.{suffix}" for suffix in sorted(hosts.suffixes)), *map(str, hosts.networks)]
    return ["*", *names] if hosts.everything else names


def describe_value(value: Any) -> str:
    """A setting as a user would write it; of what is secret only the names."""
    match value:
        case Login() | Via() | NoVia():
            return str(value)
        case ItemFile():
            return value.path
        case (AuthItem(), *_):
            return ", ".join(each.name for each in value)
        case _:
            return shown(value)
