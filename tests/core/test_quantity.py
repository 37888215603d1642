"""Quantities: what parses to what, what is refused, and that writing one reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core.quantity import parse, render
from simulator.core.units import to_ps, to_s


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("500ms", "duration", 0.5),
        ("1.5 h", "duration", 5400),
        ("10us", "duration", 1e-5),
        ("10µs", "duration", 1e-5),
        ("2d", "duration", 172_800),
        ("80GiB", "size", 80 * 2**30),
        ("80GB", "size", 80e9),
        ("512B", "size", 512),
        ("900GB/s", "bandwidth", 900e9),
        ("989.5TFLOP/s", "compute", 989.5e12),
        ("5/s", "rate", 5),
        ("30req/min", "rate", 0.5),
        ("0.7kW", "power", 700),
        (" 1e3ms ", "duration", 1),
        (".5s", "duration", 0.5),
    ],
)
def test_quantities_are_read_in_si_units(text, kind, value):
    assert parse(text, kind) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (500, "duration", "has no unit"),
        ("500", "duration", "has no unit"),
        (True, "duration", "expected a duration such as 500ms"),
        (None, "size", "expected a size such as 80GiB"),
        ("500MB", "duration", "'MB' is not a unit of duration"),
        ("80gib", "size", "'gib' is not a unit of size"),
        ("1s 2s", "duration", "is not a duration"),
        ("infs", "duration", "is not a duration"),
        ("nan s", "duration", "is not a duration"),
        ("1e999s", "duration", "must be finite"),
        ("0s", "duration", "above 0"),
        ("-1s", "duration", "above 0"),
        ("", "rate", "is not a rate"),
    ],
)
def test_what_is_wrong_is_said(value, kind, message):
    with pytest.raises(ValueError, match=message):
        parse(value, kind)


def test_zero_where_it_is_allowed():
    assert parse("0ms", "duration", allow_zero=True) == 0
    with pytest.raises(ValueError, match="not negative"):
        parse("-1ms", "duration", allow_zero=True)


@given(st.floats(1e-12, 1e18), st.sampled_from(["duration", "size", "bandwidth", "compute", "rate", "power"]))
def test_what_is_written_reads_back(value, kind):
    assert parse(render(value, kind), kind) == value


@given(st.integers(0, 2**53))
def test_picoseconds_survive_seconds(picoseconds):
    assert abs(to_ps(to_s(picoseconds)) - picoseconds) <= 1
