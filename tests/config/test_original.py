"""Where pog differs from the original, as the page, the table and the start log say it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.config.original import CLIENT, SERVER, differences
from pog.config.server_settings import ServerSettings
from pog.config.settings import load
from pog.net.address import Address
from tests.helpers.process import ROOT

PAGE = (ROOT / "docs" / "from-the-original.md").read_text()


@pytest.mark.parametrize("setting", [*(each.setting for each in SERVER), *(each.setting for each in CLIENT)])
def test_the_page_tells_each_with_the_setting_that_undoes_it(setting: str) -> None:
    assert f"`{setting}`" in PAGE


@pytest.mark.parametrize("cls", [ServerSettings, ClientSettings])
def test_with_the_settings_that_it_names_nothing_differs(cls: type[ServerSettings] | type[ClientSettings]) -> None:
    table = SERVER if cls is ServerSettings else CLIENT
    environ = dict(each.setting.split("=", 1) for each in table) | {"SERVER_ADDR": "h:1"}
    assert differences(load(cls, environ, {})) == ""
    assert differences(load(cls, {"SERVER_ADDR": "h:1"}, {})).count("(") == len(table)


def test_what_does_not_apply_is_not_told() -> None:
    settings = ClientSettings(listen=(Endpoint(Address("127.0.0.1", 1)), Endpoint(Address("10.0.0.1", 1))))
    assert "loopback" not in differences(settings)
    assert "loopback" in differences(replace(settings, listen=settings.listen[:1]))
