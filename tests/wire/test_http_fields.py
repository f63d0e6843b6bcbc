from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.wire.http_fields import Accepted, accepted


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Accepted(1.0, False)),
        ("*/*;q=0.1", Accepted(0.1, False)),
        ("text/html", Accepted(0.0, False)),
        ("TEXT/*;q=0.25", Accepted(0.25, False)),
        ("text/*;version=2", Accepted(1.0, False)),
        ("Text/Plain", Accepted(1.0, True)),
        # The more specific range counts, wherever it stands and whatever its weight.
        ("*/*;q=1, text/plain;q=0.2, text/*;q=0.9", Accepted(0.2, True)),
        ("text/plain;q=0.9, text/plain;version=2;q=0.2", Accepted(0.2, True)),
        ("text/plain;version=1, */*;q=0.3", Accepted(0.3, False)),
        ("text/plain;q=0", Accepted(0.0, True)),
        # No weight by the grammar: as none.
        ("text/plain;q=2", Accepted(1.0, True)),
        ("text/plain;q=-1", Accepted(1.0, True)),
        ('text/html;note="x, text/plain;q=0.5", text/*;q=0.1', Accepted(0.1, False)),
        ('text/html;note="\\", text/plain;q=0.5", text/*;q=0.1', Accepted(0.1, False)),
        (",, text/plain ,", Accepted(1.0, True)),
    ],
)
def test_the_most_specific_range_counts(accept: str, expected: Accepted) -> None:
    assert accepted(accept, "text/plain", "2") == expected


@given(st.text(alphabet='ab/*;=q01.," \\\té', max_size=60))
def test_a_stranger_may_send_anything(accept: str) -> None:
    assert 0 <= accepted(accept, "a/b", "1").weight <= 1
