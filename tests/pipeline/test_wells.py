"""Well filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline.wells import position, select_wells

PLATE = [f"{row}{column:02}" for row in "ABCDEFGH" for column in range(1, 13)]
NAMED = ["control", "drug-1", "drug-2", 7]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("A01", {"A01"}),
        ("A1", {"A01"}),
        ("a1", {"A01"}),
        ("A01, B02", {"A01", "B02"}),
        ("row:B", {w for w in PLATE if w[0] == "B"}),
        ("row:B-C", {w for w in PLATE if w[0] in "BC"}),
        ("col:01-06", {w for w in PLATE if int(w[1:]) <= 6}),
        ("col:12", {w for w in PLATE if w.endswith("12")}),
        ("A01:A12", {w for w in PLATE if w[0] == "A"}),
        ("B03:A02", {"A02", "A03", "B02", "B03"}),
        (3, {"A01", "A02", "A03"}),
        (0, set()),
        ([], set()),
        (1000, set(PLATE)),
        (np.int64(1), {"A01"}),
        (["H12", "row:A", 1, "B01,B02"], {"H12", "B01", "B02", *PLATE[:12]}),
    ],
)
def test_filters_of_a_plate(wanted, found):
    assert select_wells(wanted, PLATE) == found


@pytest.mark.parametrize(
    ("wanted", "found"), [("control", {"control"}), ("drug-1,7", {"drug-1", 7}), (2, NAMED[:2])]
)
def test_wells_of_any_name(wanted, found):
    assert select_wells(wanted, NAMED) == set(found)


@pytest.mark.parametrize(
    "wanted",
    ["", "row:", "row:I", "row:1", "col:0", "col:x", "col:1-", "I01", "A01:", "A01,Z", ":"],
)
def test_a_part_that_matches_nothing_is_named_with_the_wells_there_are(wanted):
    if wanted == "A01:":
        assert select_wells(wanted, PLATE) == {"A01"}
        return
    with pytest.raises(PipelineError, match=r"matches nothing; the wells are A01, .* and 88 more"):
        select_wells(wanted, PLATE)


@pytest.mark.parametrize("wanted", [-1, True, 2.5, b"A01", None, ["A01", None]])
def test_a_number_is_how_many(wanted):
    with pytest.raises(PipelineError, match="first wells"):
        select_wells(wanted, PLATE)


def test_wells_that_are_only_known_are_no_mistake_but_not_found():
    assert select_wells("row:H", PLATE[:12], known=PLATE) == set()
    assert select_wells(2, PLATE[12:], known=PLATE) == {"B01", "B02"}


def test_rows_of_large_plates():
    assert position("AA01") == (27, 1)
    assert position("Z1") == (26, 1)
    assert position("A00") is None
    assert select_wells("row:Z-AB", ["Y01", "Z01", "AB48", "AC01"]) == {"Z01", "AB48"}


rows = st.sampled_from("ABCDEFGH")
columns = st.integers(1, 12)


@given(rows, columns, rows, columns)
def test_corners_hold_what_lies_between_them(row, column, other_row, other_column):
    expected = {
        well
        for well in PLATE
        if min(row, other_row) <= well[0] <= max(row, other_row)
        and min(column, other_column) <= int(well[1:]) <= max(column, other_column)
    }
    assert select_wells(f"{row}{column}:{other_row}{other_column:02}", PLATE) == expected


terms = st.one_of(
    st.sampled_from(PLATE),
    rows.map("row:{}".format),
    columns.map("col:{}".format),
    st.integers(0, 100),
)


@given(st.lists(terms, max_size=5))
def test_a_list_means_what_its_parts_mean(wanted):
    expected = set().union(*(select_wells(term, PLATE) for term in wanted))
    assert select_wells(wanted, PLATE) == expected
    if wanted and not any(isinstance(term, int) for term in wanted):
        assert select_wells(", ".join(wanted), PLATE) == expected


@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip() == t and "," not in t), unique=True))
def test_every_id_finds_itself_alone(ids):
    for well in ids:
        assert select_wells(well, ids) == {well}
