"""The benchmark as a whole: pog carries every byte in each of the three shapes, and each process has its CPU time."""

import json
import sys
from pathlib import Path

from tests.system.conftest import Tool, program

ROOT = Path(__file__).parents[2]


def test_three_shapes(run: Tool, tmp_path: Path) -> None:
    samples = tmp_path / "samples.json"
    program("haproxy")
    program("cc")
    words = ("--quick", "--contestants", "pog", "--only", "content,open", "--json", str(samples))
    said = run(sys.executable, "-m", "tests.bench", *words, seconds=50)
    assert "problem:" not in said, said
    got = {key: by["pog"]["1"] for key, by in json.loads(samples.read_text())["samples"].items()}
    for shape, sides in (("h2c", 2), ("tls", 3), ("hop", 3)):
        assert (got[f"{shape}: content"], got[f"{shape}: open.failed"]) == (0, 0), said
        spent = [value for key, value in got.items() if key.startswith(f"{shape}: open.cpu.")]
        assert len(spent) == sides, said
        assert min(spent) > 1, said


def test_plain_http(run: Tool, tmp_path: Path) -> None:
    samples = tmp_path / "samples.json"
    program("cc")
    words = ("--quick", "--contestants", "pog", "--only", "plain", "--shapes", "h2c", "--json", str(samples))
    said = run(sys.executable, "-m", "tests.bench", *words, seconds=50)
    assert "problem:" not in said, said
    got = {key: by["pog"]["1"] for key, by in json.loads(samples.read_text())["samples"].items()}
    assert got["h2c: plain.failed"] == 0, said
    assert min(got["h2c: plain.rate"], got["h2c: plain.down"]) > 1, said
