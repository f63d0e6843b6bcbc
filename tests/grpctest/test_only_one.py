"""The repository's own tests start gRPC services by grpctest, and the package itself never does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHER_WAYS = re.compile(
    r"\bgrpc\.(aio\.)?server\(|\bgrpclib\.server\.Server\(|\bChannelFor\(|\brequest_handler\(|add_insecure_port"
)


def test_no_test_has_a_way_of_its_own() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        found = OTHER_WAYS.search(path.read_text()) if path != Path(__file__) else None
        assert found is None, f"{path}: {found.group()}: pog.grpctest does that"


def test_the_program_does_not_need_it() -> None:
    outside = [path for path in (ROOT / "pog").rglob("*.py") if "grpctest" not in path.parts]
    using = {
        path.name for path in outside if re.search(r"^\s*(from|import) pog\.grpctest", path.read_text(), re.MULTILINE)
    }
    assert using == {"pytest_plugin.py"}
