"""Two pages of metrics as one: what comes out is read by prometheus_client's own parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.net.address import Address
from pog.observe.exposition import merged
from pog.observe.metrics import Metrics
from pog.tunnel.live import Tunnels

LABELS = {"end": "server"}
Page = list[tuple[str, dict[str, str], int]]
Series = tuple[str, frozenset[tuple[str, str]]]


def together(ours: str, theirs: str) -> str:
    page, left_out = merged(ours.encode(), theirs.encode(), LABELS)
    assert left_out == []
    return page.decode()


def read(page: str) -> dict[Series, float]:
    """Every series; fails where Prometheus would."""
    found: dict[Series, float] = {}
    told = [line.split(" ")[:3] for line in page.splitlines() if line.startswith("#")]
    assert len(told) == len({tuple(each) for each in told}), "HELP or TYPE twice"
    seen: list[str] = []
    for family in text_string_to_metric_families(page):
        # A line without TYPE is a family of its own to this parser.
        assert seen[-1:] == [family.name] or family.name not in seen, "lines of one name apart from each other"
        seen.append(family.name)
        for sample in family.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in found, "a series twice"
            found[series] = sample.value
    return found


def of_the_server(series: dict[Series, float]) -> dict[Series, float]:
    return {(name, labels.union(LABELS.items())): value for (name, labels), value in series.items()}


def test_the_pages_of_both_ends() -> None:
    client = Metrics("client", ClientSettings(server_addr=Address("127.0.0.1", 1)), Tunnels()).render()[0].decode()
    server = Metrics("server", ServerSettings(), Tunnels()).render()[0].decode()
    assert read(together(client, server)) == read(client) | of_the_server(read(server))


def test_the_original_writes_in_gos_way() -> None:
    ours = "# HELP a_total Ours.\n# TYPE a_total gauge\na_total 1\n"
    theirs = (
        "# HELP a_total Theirs, \\\\ and \\n.\n# TYPE a_total gauge\na_total 2\n"
        "# HELP go_gc_duration_seconds A summary.\n# TYPE go_gc_duration_seconds summary\n"
        'go_gc_duration_seconds{quantile="0"} 2.5749e-05\ngo_gc_duration_seconds{quantile="1"} NaN\n'
        "go_gc_duration_seconds_sum 0.000121\ngo_gc_duration_seconds_count 4\n"
        '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 1.7e+09\nh_count 2\n'
    )
    page = together(ours, theirs)
    assert page.startswith('# HELP a_total Ours.\n# TYPE a_total gauge\na_total 1\na_total{end="server"} 2\n')
    assert 'h_bucket{end="server",le="+Inf"} 2\n' in page
    assert [family.name for family in text_string_to_metric_families(page)] == [
        "a_total",
        "go_gc_duration_seconds",
        "h",
    ]


def test_lines_of_one_name_that_stand_apart_come_together() -> None:
    assert together("a 1\nb 2\n", "b 3\na 4\nb 5\n") == 'a 1\na{end="server"} 4\nb 2\nb{end="server"} 3\n'


def test_a_label_of_theirs_with_our_name_stays_by_another() -> None:
    page = together("", 'a{end="x",exported_end="y"} 1\n')
    assert page == 'a{end="server",exported_end="y",exported_exported_end="x"} 1\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a 1 1700000000000", 'a{end="server"} 1 1700000000000'),
        ("a\t+Inf", 'a{end="server"} +Inf'),
        ("  a   -1.5E-3  ", 'a{end="server"} -1.5E-3'),
        ('a { b = "c" , d="" , } 1', 'a{b="c",end="server"} 1'),
        ("a{} 1", 'a{end="server"} 1'),
        ('a{b="}, \\"\\\\"}1', 'a{b="}, \\"\\\\",end="server"} 1'),
        ("# a comment", ""),
        ("#", ""),
        ("", ""),
        ("a 1\r", 'a{end="server"} 1'),
    ],
)
def test_every_way_to_write_a_line(line: str, expected: str) -> None:
    assert together("", line).strip() == expected


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a one",
        "a 1_0",
        "a 0x10",
        "a 1 2 3",
        "1a 1",
        "a{b=c} 1",
        'a{b="c} 1',
        'a{b="c" d="e"} 1',
        "a{,} 1",
        '{a="b"} 1',
        "a 1 now",
        "<html>",
        "\0",
        "a" + " " * 1_000_000,
        "a{" + 'b="c",' * 100_000,
        'a{b="' + "\\" * 1_000_001,
    ],
)
def test_what_is_no_page_of_metrics(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is none"):
        merged(b"", f"ok 1\n{line}\n".encode(), LABELS)


@pytest.mark.parametrize("theirs", [b"# TYPE a histogram\na_bucket 1\n", b"# TYPE a summary\na_sum 1\n"])
def test_a_type_that_does_not_go_with_ours_is_left_out(theirs: bytes) -> None:
    ours = b"# TYPE a gauge\na 1\n"
    assert merged(ours, theirs + b"b 2\n", LABELS) == (ours + b'b{end="server"} 2\n', ["a"])


_labels = st.dictionaries(st.sampled_from(["x", "end", "le"]), st.text('a"\\n}{, =', max_size=4), max_size=3)
_pages = st.lists(st.tuples(st.sampled_from(["a", "b", "a_sum", "c_total"]), _labels, st.integers(0, 9)), max_size=8)


def _written(page: Page) -> str:
    lines, seen = [], set()
    for name, labels, value in page:
        escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"') for key, text in labels.items() if text}
        pairs = ",".join(f'{key}="{text}"' for key, text in sorted(escaped.items()))
        series = f"{name}{{{pairs}}}"
        if series not in seen:
            lines.append(f"{series} {value}\n")
        seen.add(series)
    return "".join(lines)


@given(_pages, _pages)
def test_nothing_is_lost_and_nothing_doubled(ours: Page, theirs: Page) -> None:
    ours = [each for each in ours if "end" not in each[1]]
    page = read(together(_written(ours), _written(theirs)))
    assert len(page) == _written(ours).count("\n") + _written(theirs).count("\n")
    assert sum(page.values()) == sum(int(line[-1]) for line in (_written(ours) + _written(theirs)).splitlines())
