import json
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.config.auth_items import ITEM, AuthItem, ItemFile, new_item, parse_item, parse_items
from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.config.settings import load
from pog.errors import SettingsError

HASH = "$2a$10$oiV27ssmxy3ihPYA4w.rIOAH2eUQOnwCXoHL4PKXSZz2goKvL.Nwq"
ITEM_FROM_GO = f'{{"name":"pog-client","hash":"{HASH}","exp_date":"2035-11-12T05:22:05Z"}}'
NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)
HALF_A_YEAR = 6 * 30 * 24 * 3600.0


def item(**changes: object) -> str:
    return json.dumps({"name": "ilya", "hash": HASH, "exp_date": "2035-11-12T05:22:05Z"} | changes)


def test_an_item_of_the_original_is_read() -> None:
    parsed = parse_item(ITEM_FROM_GO)
    assert parsed == AuthItem("pog-client", HASH, datetime(2035, 11, 12, 5, 22, 5, tzinfo=UTC))
    assert parsed.cost == 10
    assert HASH not in repr(parsed)


@pytest.mark.parametrize(
    ("cls", "variable", "text"),
    [
        (ServerSettings, "POG_AUTH", ITEM_FROM_GO),
        (ServerSettings, "POG_AUTHX", ITEM_FROM_GO),
        (ServerSettings, "POG_AUTHLAPTOP", "whatever"),
        (ClientSettings, "CLIENT_AUTH", "whatever"),
        (ClientSettings, "CLIENT_AUTHX", ITEM_FROM_GO),
    ],
)
def test_a_variable_that_was_meant_to_hold_an_item_is_an_error(
    cls: type[ServerSettings] | type[ClientSettings], variable: str, text: str
) -> None:
    """Unread, it would leave the program without users."""
    with pytest.raises(SettingsError, match=f"^{variable}: is not read; .* begins with (POG|CLIENT)_AUTH_$"):
        load(cls, {"SERVER_ADDR": "a:1", variable: text}, {})


def test_variables_of_others_are_none_of_ours() -> None:
    environ = {"SERVER_ADDR": "a:1", "CLIENT_AUTHORITY": "x", "POG_AUTH": "", "POG_AUTHX": "", "POG_AUTH_X": ""}
    assert load(ServerSettings, environ, {}).auth_items == ()
    assert load(ClientSettings, environ | {"POG_AUTH": ITEM_FROM_GO}, {}).auth_items == ()


@pytest.mark.parametrize("version", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_every_common_version_are_taken_and_checkable(version: str) -> None:
    hashed = version + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()[4:]
    assert bcrypt.checkpw(b"pw", parse_item(item(hash=hashed)).hash.encode())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-06-15T15:00:00+03:00", NOW),
        ("2024-06-15T12:00:00.5Z", NOW.replace(microsecond=500_000)),
        ("2024-06-15T12:00:00.123456789Z", NOW.replace(microsecond=123_456)),
    ],
)
def test_expiry_is_rfc_3339(text: str, moment: datetime) -> None:
    assert parse_item(item(exp_date=text)).expires == moment


BAD = {
    "not JSON": "{name:ilya}",
    "not a JSON object": "[1]",
    "name is missing": item(name=None),
    "name is missing, or": item(name=""),
    "or holds a colon": item(name="a:b"),
    "a control character": item(name="a\nb"),
    "or a control character": item(name="a\udcff"),
    "hash is not": item(hash=HASH[:-1]),
    "expanded its [$] signs": item(hash="a$10$"),
    "one of bcrypt": item(hash=HASH.replace("$10$", "$99$")),
    "bcrypt;": item(hash=HASH.replace("$2a$", "$1$")),
    "exp_date is missing": item(exp_date=5),
    "exp_date is not RFC 3339": item(exp_date="2035-11-12"),
    "RFC 3339, such": item(exp_date="2035-13-12T05:22:05Z"),
    "exp_date is not RFC 3339, such as": item(exp_date="2035-11-12T05:22:05"),
}


@pytest.mark.parametrize(("problem", "text"), BAD.items())
def test_a_malformed_item_stops_with_the_name_of_its_variable(problem: str, text: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        parse_items("POG_AUTH_", {"POG_AUTH_GOOD": ITEM_FROM_GO, "POG_AUTH_BAD": text})
    assert caught.value.name == "POG_AUTH_BAD"
    assert ITEM.form in caught.value.problem


@given(st.text() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps))
def test_whatever_stands_in_a_variable_is_refused_politely_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_item(text)
    assert len(text) < 30 or text not in str(caught.value)


def test_items_come_in_the_order_of_the_variables_and_other_variables_do_not_count() -> None:
    environ = {"POG_AUTH_2": item(name="b"), "XPOG_AUTH_": "x", "POG_AUTH_": item(name="a"), "POG_AUTH_EMPTY": ""}
    assert [each.name for each in parse_items("POG_AUTH_", environ)] == ["b", "a"]


def test_a_new_item_is_the_line_that_go_would_print() -> None:
    line = new_item("ilya", "password", HALF_A_YEAR, cost=4, now=NOW)
    made = json.loads(line)
    assert line == f'{{"name":"ilya","hash":"{made["hash"]}","exp_date":"2024-12-12T12:00:00Z"}}'
    assert made["hash"].startswith("$2a$04$")
    assert bcrypt.checkpw(b"password", parse_item(line).hash.encode())


def test_a_new_item_has_the_cost_of_the_original_by_default() -> None:
    assert parse_item(new_item("ilya", "password", HALF_A_YEAR)).cost == 10


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("", "pw", "name: must be"),
        ("a:b", "pw", "name: must be"),
        ("a\nb", "pw", "name: must be"),
        ("a", "x" * 73, "password: must be at most 72 bytes"),
        ("a", "ä" * 37, "password: must be at most 72 bytes"),
        ("a", "x\0", "no control character"),
        ("a", "x\n", "no control character"),
        ("a", "x\udcff", "no control character"),  # a byte that was no UTF-8
    ],
)
def test_items_that_could_never_pass_are_not_made(name: str, password: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        new_item(name, password, 1.0, cost=4)
    assert password not in str(caught.value) or password == "pw"


def test_a_file_of_items(tmp_path: Path) -> None:
    path = tmp_path / "items"
    path.write_text(f"# who may pass\n\n{item(name='a')}\r\n  {item(name='b')}  \n#{item(name='c')}")
    assert [each.name for each in ItemFile.read(str(path)).items] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_file_of_any_encoding_that_names_itself(tmp_path: Path, encoding: str, line_end: str) -> None:
    """Windows PowerShell 5 writes UTF-16 with `>`, and a mark before UTF-8."""
    path = tmp_path / "items"
    path.write_bytes(line_end.join(["# wer darf", item(name="bär"), item(name="b"), ""]).encode(encoding))
    assert [each.name for each in ItemFile.read(str(path)).items] == ["bär", "b"]


def test_a_directory_or_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    for path, problem in ((str(tmp_path), "cannot be read: Is a directory"), ("a\0b", "cannot be read: embedded null")):
        with pytest.raises(SettingsError, match=problem) as caught:
            ItemFile.read(path)
        assert caught.value.name == path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ": must hold at least one item"),
        (b"# nobody\n\n", ": must hold at least one item"),
        (b"\n" + item(hash="s3cret").encode(), ", line 2: must be an auth item"),
        (b'{"name":', ", line 1: must be an auth item"),
        (b"\xff\xfe", ": must hold at least one item"),
        (b"\xff\xfe{", ": must be text in UTF-8"),
        (item().encode("utf-16-le"), ", line 1: must be an auth item"),  # no mark: read as UTF-8
        (b"\xe4", ": must be text in UTF-8"),
        (None, ": cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "items"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        ItemFile.read(str(path))
    assert str(caught.value).startswith(f"{path}{problem}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["POG_AUTH_", "CLIENT_AUTH_"])
def test_the_variable_of_the_file_may_hold_the_item_of_a_user_called_file(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "items"
    path.write_text(item(name="b"))
    cls: type[ServerSettings] | type[ClientSettings] = ServerSettings if prefix == "POG_AUTH_" else ClientSettings
    variable, others = f"{prefix}FILE", {"SERVER_ADDR": "a:1", f"{prefix}A": item(name="a")}
    for text, names in (
        (str(path), ["a", "b"]),
        (f"{path}\n", ["a", "b"]),
        (item(name="file"), ["a", "file"]),
        (f"\ufeff{item(name='file')}\r\n", ["a", "file"]),
        ("", ["a"]),
    ):
        settings = load(cls, others | {variable: text}, {})
        assert [each.name for each in settings.auth_items] == names
    with pytest.raises(SettingsError, match=f"^{variable}: must be the path of a file of auth items: /nowhere: "):
        load(cls, others | {variable: "/nowhere"}, {})
