"""The three sentences that hold the structure (docs/architecture.md), checked on every file of the package:

1. Imports point down, those for types too, and never in a circle.
2. client and server never import each other.
3. Files that are marked [pure] in their docstring, or in that of their room, import no asyncio, socket or clock.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pog"

# From the ground up. Rooms in one row do not import each other.
LAYERS = (
    ("proto",),
    ("errors",),
    ("wire",),
    ("process",),
    ("net",),
    ("config",),
    ("http2",),
    ("tunnel",),
    ("auth",),
    ("front",),
    ("observe",),
    ("client", "server"),
    ("cli", "grpctest"),
    ("__main__", "pytest_plugin"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
IMPURE = {"asyncio", "socket", "time", "select", "selectors", "ssl", "threading", "subprocess", "uvloop"}


class File(NamedTuple):
    """One file of the package: its name as a module, its room, whether it is pure, and what it imports."""

    module: str
    room: str
    pure: bool
    imports: frozenset[str]


def read(path: Path, root: Path) -> File:
    parts = path.relative_to(root).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    tree = ast.parse(path.read_text())
    docs = [ast.get_docstring(tree) or ""]
    if path.parent != root / "pog":
        docs.append(ast.get_docstring(ast.parse((path.parent / "__init__.py").read_text())) or "")
    first_lines = [doc.splitlines()[0] if doc else "" for doc in docs]
    mark = "[pure]"
    pure = any(mark in line for line in first_lines) or mark in docs[0]
    return File(module, parts[1], pure, frozenset(imported(tree)))


def imported(tree: ast.Module) -> set[str]:
    """The modules that a file names in imports, wherever these stand; `from a import b` may mean a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def files(root: Path) -> dict[str, File]:
    """All files but the generated stubs and the package's own docstring."""
    paths = [each for each in sorted((root / "pog").rglob("*.py")) if each.parent.name != "proto"]
    return {file.module: file for file in (read(path, root) for path in paths) if file.module != "pog"}


def problems(root: Path = ROOT) -> list[str]:
    """What breaks one of the sentences, a line each."""
    found = []
    modules = files(root)
    graph: dict[str, set[str]] = {}
    for file in modules.values():
        if file.pure and (impure := {name.partition(".")[0] for name in file.imports} & IMPURE):
            found.append(f"{file.module} is pure and imports {', '.join(sorted(impure))}")
        targets = {name for name in file.imports if name in modules}
        # A room's own map is not an import of what it lists.
        graph[file.module] = {name for name in targets if name != file.module and "." in name}
        for name in sorted(file.imports):
            parts = name.split(".")
            if parts[0] != "pog" or len(parts) < 2 or parts[1] not in LEVEL:
                continue
            room = parts[1]
            if room == file.room:
                continue
            if LEVEL[room] >= LEVEL[file.room]:
                found.append(f"{file.module} ({file.room}) imports {name}: {room} does not lie below {file.room}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"a circle of imports: {' -> '.join(error.args[1])}")
    return sorted(set(found))


def test_every_file_lies_in_a_room() -> None:
    loose = {each.name for each in PACKAGE.iterdir() if each.is_file()}
    assert loose == {"__init__.py", "__main__.py", "errors.py", "py.typed", "pytest_plugin.py"}
    assert {file.room for file in files(ROOT).values()} == set(LEVEL) - {"proto"}


def test_imports_point_down_and_pure_files_are_pure() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("client/x.py", "from pog.server.app import App", "does not lie below"),
        ("client/x.py", "import pog.server", "does not lie below"),
        ("net/x.py", "def f():\n    from pog.client.app import run", "does not lie below"),
        ("wire/x.py", "if TYPE_CHECKING:\n    from pog.http2.session import Session", "does not lie below"),
        ("front/x.py", '"""A front. [pure]"""\nimport asyncio', "is pure and imports asyncio"),
        ("front/x.py", '"""A front. [pure]"""\nfrom time import monotonic', "is pure and imports time"),
        ("net/x.py", "from pog.net.y import a", "a circle of imports"),
    ],
)
def test_the_check_finds_what_breaks_a_rule(tmp_path: Path, path: str, text: str, expected: str) -> None:
    for room in ("client", "server", "net", "wire", "front", "http2"):
        (tmp_path / "pog" / room).mkdir(parents=True)
        (tmp_path / "pog" / room / "__init__.py").write_text("")
    (tmp_path / "pog" / "net" / "y.py").write_text("from pog.net.x import b")
    (tmp_path / "pog" / "net" / "x.py").write_text("")
    assert problems(tmp_path) == []
    (tmp_path / "pog" / path).write_text(text)
    assert any(expected in each for each in problems(tmp_path)), problems(tmp_path)
