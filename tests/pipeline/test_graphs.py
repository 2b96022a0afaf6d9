"""Which graph, which curve, and where along it."""

from __future__ import annotations

import pytest

from napari_streaming.pipeline.graphs import Graphs, is_numbered, legend, plate_order

PLATE = tuple(f"{row}{column:02}" for row in "ABCDEFGH" for column in range(1, 13))


@pytest.mark.parametrize(
    ("at", "metric", "step"),
    [
        ({}, "count", None),
        ({"well": "A01"}, "count", 1),
        ({"well": "B01"}, "count", 13),
        ({"well": "H12"}, "count", 96),
        ({"well": "A02", "channel": "DAPI", "site": 3}, "count/DAPI site 3", 2),
        ({"well": "A02", "t": 7}, "count/A02", 7),
        ({"well": "A02", "channel": "DAPI", "Time": 0.5}, "count/A02 DAPI", 0.5),
        ({"well": "A02", "t": "late"}, "count/late", 2),
        ({"plate": 4}, "count", 4),
        ({"t": 7}, "count", 7),
    ],
)
def test_where_a_number_of_a_plate_is(at, metric, step):
    assert Graphs().place("count", at, PLATE) == (metric, step)


def test_without_an_order_wells_are_numbered_as_they_come():
    graphs = Graphs()
    wells = ["B01", "A01", "B01", "C01"]
    assert [graphs.place("a", {"well": w})[1] for w in wells] == [1, 2, 1, 3]
    assert graphs.place("b", {"well": "C01"}) == ("b", 1)
    assert graphs.place("c", {"well": "Z"}, PLATE) == ("c", 97)


@pytest.mark.parametrize(
    ("at", "numbered"),
    [
        ({"well": "A01"}, True),
        ({"well": 3}, False),
        ({"well": "A01", "t": 1}, False),
        ({}, False),
    ],
)
def test_what_needs_a_legend(at, numbered):
    assert is_numbered(at) is numbered


@pytest.mark.parametrize(
    ("wells", "ordered", "says"),
    [
        (["B1", "A10", "A9"], ("A9", "A10", "B1"), "1 to 2 are A9 to A10, 3 is B1"),
        (["mock", "A01"], ("mock", "A01"), "1 is mock, 2 is A01"),
        (["A01"], ("A01",), "1 is A01"),
        ([], (), ""),
    ],
)
def test_wells_in_the_order_of_the_plate(wells, ordered, says):
    assert plate_order(wells) == ordered
    assert legend(plate_order(wells)) == says


def test_a_plate_is_told_row_by_row():
    shuffled = sorted(PLATE, key=lambda well: well[::-1])
    assert plate_order(shuffled) == PLATE
    says = legend(plate_order(shuffled))
    assert says.startswith("1 to 12 are A01 to A12, 13 to 24 are B01 to B12, ")
    assert says.endswith("85 to 96 are H01 to H12")


def test_a_legend_has_an_end():
    says = legend([f"patient {n}" for n in range(1000)])
    assert says.endswith("384 is patient 383, and so on")
