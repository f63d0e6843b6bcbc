import dataclasses
from typing import Any

import pytest

from pog.config.client import load_client
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.config.exits import Login
from pog.config.server_settings import ServerSettings
from pog.config.settings import CommonSettings, load, markdown, table
from pog.errors import SettingsError
from pog.net.address import Address

HASH = "$2a$10$uIGiYtUKu5OJtCfRO95yIOoE.udSSjMoTc1CqCXe3iRHpS4DA.b9m"
ITEM = f'{{"name":"ilya","hash":"{HASH}","exp_date":"2035-11-12T05:22:55Z"}}'
CLIENT = {"SERVER_ADDR": "pog.example.com:443"}


def test_defaults() -> None:
    server, client = load(ServerSettings, {}, {}), load(ClientSettings, CLIENT, {})
    assert server == ServerSettings()
    assert (server.listen, server.open_proxy) == (None, False)
    assert client == ClientSettings(server_addr=Address("pog.example.com", 443))
    assert client.listen == (Endpoint(Address("127.0.0.1", 18080)), Endpoint(Address("::1", 18080)))
    assert (server.access_log, server.grpc_builtin_metrics, server.stacks) == (True, True, None)


@pytest.mark.parametrize(
    ("environ", "listens_at"),
    [
        ({}, Address("127.0.0.1", 8080)),
        ({"POG_AUTH_X": ""}, Address("127.0.0.1", 8080)),
        ({"POG_AUTH_X": ITEM}, Address("", 8080)),
        ({"POG_OPEN": "1"}, Address("", 8080)),
        ({"PORT": "8080"}, Address("", 8080)),
        ({"SERVER_LISTEN": ":8080"}, Address("", 8080)),
    ],
)
def test_a_server_without_users_listens_on_loopback_unless_told_where(
    environ: dict[str, str], listens_at: Address
) -> None:
    assert load(ServerSettings, environ, {}).listens_at == listens_at


SAID: list[tuple[type[CommonSettings], str, str, str, Any]] = [
    (ServerSettings, "METRIC_NAMESPACE", "pog", "metric_namespace", "pog"),
    (ServerSettings, "DISABLE_ACCESS_LOGGING", "0", "access_log", False),
    (ServerSettings, "GRPC_BUILTIN_METRICS", "F", "grpc_builtin_metrics", False),
    (ServerSettings, "TUNNEL_IDLE_TIMEOUT", "1h", "idle_timeout", 3600.0),
    (ServerSettings, "PORT", "9090", "listen", Address("", 9090)),
    (ServerSettings, "SERVER_LISTEN", "127.0.0.1:0", "listen", Address("127.0.0.1", 0)),
    (ServerSettings, "GRPC_AND_HTTP_MUX", "0", "grpc_and_http_mux", False),
    (ServerSettings, "STACKS", "1", "stacks", True),
    (ServerSettings, "STACKS", "0", "stacks", False),
    (ServerSettings, "POG_OPEN", "1", "open_proxy", True),
    (ClientSettings, "CLIENT_LISTEN", ":18080", "listen", (Endpoint(Address("", 18080)),)),
    (ClientSettings, "INSECURE", "t", "insecure", True),
    (ClientSettings, "SERVER_HOST", "pog.internal", "server_host", "pog.internal"),
    (ClientSettings, "MUX_SERVER_METRICS", "1", "mux_server_metrics", True),
    (ClientSettings, "MAX_TUNNELS", "5", "max_tunnels", 5),
]


@pytest.mark.parametrize(("cls", "variable", "text", "name", "value"), SAID)
def test_variables_are_read(cls: type[CommonSettings], variable: str, text: str, name: str, value: object) -> None:
    assert getattr(load(cls, CLIENT | {variable: text}, {}), name) == value


@pytest.mark.parametrize(("cls", "variable"), [(each[0], each[1]) for each in SAID])
def test_an_empty_variable_is_unset(cls: type[CommonSettings], variable: str) -> None:
    assert load(cls, CLIENT | {variable: ""}, {}) == load(cls, CLIENT, {})


@pytest.mark.parametrize(("cls", "variable", "text", "name", "value"), SAID)
def test_a_line_end_behind_a_value_does_not_count(
    cls: type[CommonSettings], variable: str, text: str, name: str, value: object
) -> None:
    """A secret that is handed over from a file has one, and every line of an env file with CRLF."""
    for end in ("\n", "\r", "\r\n"):
        assert getattr(load(cls, CLIENT | {variable: text + end}, {}), name) == value


def test_secrets_from_files_are_read_without_their_line_end() -> None:
    environ = {"SERVER_ADDR": "pog.example:443\n", "CLIENT_POG_AUTH": "me:s3cret\r\n", "CLIENT_AUTH_A": f"{ITEM}\n"}
    settings = load(ClientSettings, environ, {})
    assert (settings.server_addr, settings.pog_auth) == (Address("pog.example", 443), Login("me", "s3cret"))
    assert [item.name for item in settings.auth] == ["ilya"]


def test_flags_win_over_variables_and_what_loses_is_not_looked_at() -> None:
    environ = {"SERVER_LISTEN": "nonsense", "PORT": "9", "LOG_LEVEL": "info", "STACKS": "1"}
    flags = {"listen": ":1", "log_level": "debug", "stacks": False, "dial_timeout": None}
    settings = load(ServerSettings, environ, flags)
    assert (settings.listen, settings.log_level, settings.stacks) == (Address("", 1), "debug", False)
    assert load(ServerSettings, {"SERVER_LISTEN": "127.0.0.1:5", "PORT": "9"}, {}).listen == Address("127.0.0.1", 5)
    assert load(ServerSettings, {"SERVER_LISTEN": "127.0.0.1:5"}, {"port": "7"}).listen == Address("", 7)
    assert load(ClientSettings, {}, {"server_addr": Address("h", 1)}).server_addr == Address("h", 1)


def test_an_empty_flag_says_that_there_is_none() -> None:
    assert load(ClientSettings, CLIENT | {"SERVER_HOST": "pog.example"}, {"server_host": ""}).server_host == ""


def test_auth_items_come_from_every_variable_with_the_prefix() -> None:
    environ = CLIENT | {"POG_AUTH_ITEM1": ITEM, "CLIENT_AUTH_A": ITEM, "CLIENT_AUTH_B": ITEM.replace("ilya", "anna")}
    assert [item.name for item in load(ServerSettings, environ, {}).auth] == ["ilya"]
    assert [item.name for item in load(ClientSettings, environ, {}).auth] == ["ilya", "anna"]


@pytest.mark.parametrize(
    ("cls", "row"), [(cls, row) for cls in (ServerSettings, ClientSettings) for _, row in table(cls)]
)
def test_every_bad_value_names_its_variable_or_flag_and_the_form(cls: type[CommonSettings], row: Any) -> None:
    for each in row.spellings:
        if each.env and each.env != "DISABLE_ACCESS_LOGGING":
            name = each.env.replace("*", "X")
            with pytest.raises(SettingsError, match=f"^{name}: must be ") as caught:
                load(cls, CLIENT | {name: "\n"}, {})
            assert each.kind.form in str(caught.value)
        if each.flag and not each.is_switch:
            with pytest.raises(SettingsError, match=f"^{each.flag}: must be "):
                load(cls, CLIENT, {each.key: "\n"})


def test_a_required_variable_is_missed_by_name() -> None:
    with pytest.raises(SettingsError, match=r"^SERVER_ADDR: is not set; it must be host:port.*--server-addr"):
        load_client({}, {}, "/nowhere")


def test_secrets_are_in_no_error_and_in_no_repr() -> None:
    for variable in ("CLIENT_POG_AUTH", "CLIENT_AUTH_ILYA"):
        with pytest.raises(SettingsError) as caught:
            load(ClientSettings, CLIENT | {variable: "s3cret"}, {})
        assert "s3cret" not in repr(caught.value)
        assert caught.value.__cause__ is None
    settings = load(ClientSettings, CLIENT | {"CLIENT_POG_AUTH": "me:s3cret", "CLIENT_AUTH_ILYA": ITEM}, {})
    assert "s3cret" not in repr(settings)
    assert "$2a$" not in repr(settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerSettings().workers = 2  # type: ignore[misc]


def test_the_tables_for_the_readme_have_a_line_for_every_variable_once() -> None:
    text = "".join(markdown(cls) for cls in (CommonSettings, ServerSettings, ClientSettings))
    for cls in (ServerSettings, ClientSettings):
        for _, row in table(cls):
            for each in row.spellings:
                assert text.count(f"| `{each.env}` |" if each.env else f"| `{each.flag}` |") == 1
    assert "| `SERVER_ADDR` | `--server-addr` | Address of the server; `direct:` connects without one." in text
    # What its value means is the opposite of the field's: none has to be written there.
    assert "Any value of the variable turns it off. |  |" in text
    assert "| `PORT` | `--port` | Port to listen on, at every address. | `8080` |" in text
