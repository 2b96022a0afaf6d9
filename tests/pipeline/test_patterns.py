from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import DataError
from napari_streaming.pipeline.patterns import parse_pattern


@pytest.mark.parametrize(
    ("pattern", "name", "coordinates"),
    [
        (
            "{well}_s{site}_w{channel}.tif",
            "A01_s1_wDAPI.tif",
            {"well": "A01", "site": 1, "channel": "DAPI"},
        ),
        ("{well}_s{site}.tif", "A01_s007.tif", {"well": "A01", "site": 7}),
        ("{well}_s{site}.tif", "A01_s7.tiff", None),
        ("{well}_s{site}.tif", "A01_s7xtif", None),
        ("img_{t:d}.png", "img_12.png", {"t": 12}),
        ("img_{t:d}.png", "img_twelve.png", None),
        ("img_{t:03d}.png", "img_12.png", None),
        ("img_{t:03d}.png", "img_0012.png", {"t": 12}),
        ("{well}/z{z}.tif", "B02/z3.tif", {"well": "B02", "z": 3}),
        ("{well}/z{z}.tif", "plate/B02/z3.tif", None),
        ("{well}.tif", "a/b.tif", None),
        ("{well}/{well}_{t}.tif", "A1/A1_4.tif", {"well": "A1", "t": 4}),
        ("{well}/{well}_{t}.tif", "A1/A2_4.tif", None),
        ("{{{t}}}.tif", "{5}.tif", {"t": 5}),
        ("{a}_{b}.tif", "x_y_z.tif", {"a": "x", "b": "y_z"}),
        ("{a}.tif", "99999999999999999999.tif", {"a": "99999999999999999999"}),
        ("{a}.tif", "\N{ARABIC-INDIC DIGIT ONE}.tif", {"a": "\N{ARABIC-INDIC DIGIT ONE}"}),
        ("{t:d}.tif", "\N{ARABIC-INDIC DIGIT ONE}.tif", None),
        ("{a}.tif", "-3.tif", {"a": "-3"}),
    ],
)
def test_a_name_is_read(pattern, name, coordinates):
    assert parse_pattern(pattern).coordinates(name) == coordinates


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{well}_s{site}_w{channel}.tif", ""),
        ("{well}_s{site}_mask.ome.tif", "mask"),
        ("cells_t{t:d}.tif", "cells"),
        ("frame{t}.tif", "frame"),
        ("{well}_ch{channel}.tif", ""),
        ("raw/{well}/cell-mask_{z}.tif", "raw_cell_mask"),
        ("{well}/{site}", ""),
    ],
)
def test_what_names_have_in_common(pattern, words):
    assert parse_pattern(pattern).words == words


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("cells.tif", "no fields; write a pattern like"),
        ("", "no fields"),
        ("{well", "expected '}'"),
        ("well}.tif", "single '}'"),
        ("{}.tif", "{} is no field"),
        ("{2}.tif", "{2} is no field"),
        ("{a b}.tif", "{a b} is no field"),
        ("{a.b}.tif", "{a.b} is no field"),
        ("{t!r}.tif", "{t} is no field"),
        ("{t:f}.tif", "{t:d} for digits"),
        ("{t:3d}.tif", "{t:d} for digits"),
        ("{row}{column:d}.tif", "where {row} ends and {column} begins"),
        ("/data/{t}.tif", "relative to the folder"),
        ("../{t}.tif", "relative to the folder"),
        ("a//{t}.tif", "relative to the folder"),
    ],
)
def test_a_bad_pattern_says_what_to_write(pattern, hint):
    with pytest.raises(DataError, match="pattern ") as error:
        parse_pattern(pattern)
    assert hint in str(error.value)


def test_a_name_is_written():
    pattern = parse_pattern("{well}/t{t:03d}_{{x}}.tif")
    assert pattern.format(well="A01", t=7) == "A01/t007_{x}.tif"


@pytest.mark.parametrize(
    ("coordinates", "hint"),
    [
        ({"a": "x"}, "give b too"),
        ({"a": "x", "b": 1, "c": 1}, "no field c"),
        ({"a": "x/y", "b": 1}, "reads differently"),
        ({"a": "", "b": 1}, "reads differently"),
        ({"a": "x", "b": -1}, "reads differently"),
        ({"a": "x", "b": "z"}, "reads differently"),
    ],
)
def test_a_name_that_would_not_be_read_back_is_not_written(coordinates, hint):
    with pytest.raises(DataError, match=hint):
        parse_pattern("{a}_{b:d}").format(**coordinates)


def test_values_that_hold_a_separator_are_refused():
    with pytest.raises(DataError, match="reads differently: separate the fields"):
        parse_pattern("{a}_{b}").format(a="x_y", b=1)


NAMES = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
TEXTS = st.text(st.sampled_from("_-./ab{}s"), min_size=1, max_size=4)


@st.composite
def patterns(draw):
    """Return a pattern, and values for its fields; digits-only fields get numbers."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    text, values = draw(st.sampled_from(["", "x", "x/"])), {}
    for position, name in enumerate(names):
        digits = draw(st.sampled_from(["", ":d", ":03d"]))
        between = draw(TEXTS).replace("{", "{{").replace("}", "}}") if position else ""
        text += f"{between}{{{name}{digits}}}"
        number = st.integers(0, 2**63 - 1)
        values[name] = draw(number if digits else number | st.text(min_size=1, max_size=5))
    return text, values


@given(patterns())
def test_what_is_written_reads_the_same(case):
    text, values = case
    try:
        name = parse_pattern(text).format(**values)
    except DataError:
        return
    read = parse_pattern(text).coordinates(name)
    assert {key: str(value) for key, value in read.items()} == {
        key: str(int(value)) if str(value).isdecimal() and str(value).isascii() else value
        for key, value in ((k, v if isinstance(v, str) else str(v)) for k, v in values.items())
    }


@given(st.integers(0, 2**63 - 1), st.from_regex(r"[A-P][0-9]{2}", fullmatch=True))
def test_plain_coordinates_always_round_trip(t, well):
    pattern = parse_pattern("{well}_t{t:03d}.tif")
    coordinates = {"well": well, "t": t}
    assert pattern.coordinates(pattern.format(**coordinates)) == coordinates
