"""Which items a step's function is called with, and what is made of its results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline import Pipeline, Points, Source, Step, Stream
from napari_streaming.pipeline.apply import apply_step
from napari_streaming.pipeline.items import Item

AXES = ("well", "channel", "z")


def compiled(function, **said):
    """Return a step of two inputs that have all coordinates, as far as compiling knows."""
    unknown = {"A01": "a/file.tif"}
    steps = [Step("other", function), Step("step", function, **({"inputs": ["source"]} | said))]
    return Pipeline(steps, AXES).compile(unknown).steps[1]


def stack(channels=("DAPI", "GFP"), depths=(0, 1, 2)):
    """Return planes, each full of a number that says which it is."""
    return [
        Item({"well": "A01", "channel": c, "z": z}, np.full((2, 3), 10 * i + z))
        for i, c in enumerate(channels)
        for z in depths
    ]


def apply(function, *inputs, **said):
    made = apply_step(compiled(function, **said), inputs or (stack(),))
    return [({k: v for k, v in i.at.items() if k != "well"}, i.value) for i in made]


def test_a_plain_step_is_called_for_each_item():
    made = apply(lambda plane: plane + 1)
    assert [at for at, _ in made] == [
        {"channel": c, "z": z} for c in ("DAPI", "GFP") for z in range(3)
    ]
    assert [value[0, 0] for _, value in made] == [1, 2, 3, 11, 12, 13]


def test_where_chooses_and_items_without_the_coordinate_pass():
    assert len(apply(lambda p: p, where={"channel": "GFP"})) == 3
    assert len(apply(lambda p: p, where={"channel": ["GFP", "DAPI"], "z": [0, 2]})) == 4
    bare = [Item({"well": "A01"}, np.zeros((2, 2)))]
    assert len(apply(lambda p: p, bare, where={"channel": "GFP"})) == 1


def test_where_that_nothing_matches():
    with pytest.raises(PipelineError, match=r"no item of 'source' has \{'channel': \('CY5',\)\}"):
        apply(lambda p: p, where={"channel": "CY5"})


def test_over_stacks_by_size_and_keeps_its_coordinates():
    seen = []

    def blur(volume):
        seen.append(volume[:, 0, 0].tolist())
        return volume * 2

    made = apply(blur, stack(depths=(2, 0, 10)), over="z", where={"channel": "DAPI"})
    assert seen == [[0, 2, 10]]
    assert [(at["z"], value[0, 0]) for at, value in made] == [(0, 0), (2, 4), (10, 20)]


def test_over_two_axes_gives_two_leading_axes():
    made = apply(lambda a: a, over=["z", "channel"])
    assert len(made) == 6
    assert {(at["channel"], at["z"]): v[0, 0] for at, v in made}["GFP", 2] == 12


def test_gives_nothing_makes_one_item():
    made = apply(lambda volume: volume.max(axis=0), over="z", gives={})
    assert [at for at, _ in made] == [{"channel": "DAPI"}, {"channel": "GFP"}]
    assert [value[0, 0] for _, value in made] == [2, 12]


def test_gives_names_the_leading_axis():
    stains = {"channel": ("H", "DAB")}
    for unmix in (lambda a: np.stack([a[0], a[1]]), lambda a: (a[0], a[1])):
        made = apply(unmix, over="channel", gives=stains, where={"z": 1})
        assert [(at, value[0, 0]) for at, value in made] == [
            ({"channel": "H", "z": 1}, 1),
            ({"channel": "DAB", "z": 1}, 11),
        ]


def test_inputs_meet_at_their_common_coordinates():
    masks = [Item({"well": "A01", "z": z}, np.full((2, 3), 100 * z)) for z in range(3)]
    two = {"inputs": ["other", "source"]}
    made = apply(lambda mask, plane: mask + plane, masks, stack(), **two)
    assert [(at["channel"], at["z"], value[0, 0]) for at, value in made] == [
        (c, z, 100 * z + 10 * i + z) for z in range(3) for i, c in enumerate(("DAPI", "GFP"))
    ]
    with pytest.raises(PipelineError, match=r"'other' at .*'z': 9.* meets none of 'source'"):
        apply(lambda a, b: a, [Item({"well": "A01", "z": 9}, 1.0)], stack(), **two)
    with pytest.raises(PipelineError, match="the inputs have different z"):
        apply(lambda a, b: a, masks[:2], stack(["DAPI"]), over="z", **two)


def test_numbers_and_points_are_results_too():
    assert apply(lambda p: p.mean(), where={"z": 2})[1][1] == 12.0
    assert apply(lambda p: np.float32(3), stack(["DAPI"], [0])) == [
        ({"channel": "DAPI", "z": 0}, 3)
    ]
    assert apply(lambda v: v.mean((1, 2)), stack(["DAPI"]), over="z")[2][1] == 2.0
    nothing = Points(np.zeros((0, 2)))
    assert apply(lambda p: nothing, stack(["DAPI"], [0]))[0][1] == nothing


def test_numbers_are_stacked_to_a_row():
    numbers = [Item({"well": "A01", "z": z}, float(z)) for z in range(4)]
    assert apply(lambda row: row.sum(), numbers, over="z", gives={}) == [({}, 6.0)]


@pytest.mark.parametrize(
    ("function", "said", "message"),
    [
        (lambda v: v[:2], {"over": "z"}, r"shape \(2, 2, 3\).*over= needs 3 .*gives=\{\}"),
        (lambda v: v.max(0), {"over": "z"}, "needs 3 items along z"),
        (lambda v: [v[0]], {"over": "z"}, "returned 1 value,"),
        (lambda v: 3.0, {"over": "z"}, "needs 3 items"),
        (lambda v: v, {"over": "z", "gives": {"channel": "HD"}}, "channel.*list"),
        (lambda p: None, {}, "returned None; end it with: return"),
        (lambda p: p[0], {}, r"shape \(3,\).*at least two axes"),
        (lambda p: p[:0], {}, "has no pixels"),
        (lambda p: p.astype(complex), {}, "complex128: use bool, integers or floats"),
        (lambda p: p.astype(str), {}, "use bool, integers or floats"),
        (lambda p: "mask", {}, "returned a str: .*use an array, Points or a number"),
        (lambda p: p / 3, {"stream": Stream(layer="labels")}, r"astype\('int32'\)"),
        (lambda p: p, {"stream": Stream(layer="points")}, "points are expected"),
    ],
)  # fmt: skip
def test_wrong_results_say_what_to_do(function, said, message):
    with pytest.raises(PipelineError, match=message):
        apply(function, **said)


def test_wrong_count_of_what_it_gives():
    gives = {"channel": ("H", "D", "E")}
    with pytest.raises(PipelineError, match=r"shape \(2, 2, 3\).*gives=.*'H', 'D', 'E'.* needs 3"):
        apply(lambda v: v, over="channel", gives=gives)


def test_a_step_cannot_change_its_input():
    items = stack(["DAPI"], [0])

    def spoil(plane):
        plane += 1
        return plane

    with pytest.raises(
        PipelineError,
        match=r"\(output array is read-only\); inputs are read-only.*plane = plane.copy\(\)",
    ):
        apply(spoil, items)
    assert not items[0].value.any()
    spots = Points(np.zeros((2, 2)), {"size": np.ones(2)})

    def move(points):
        points.coordinates[:] = 7
        return points

    assert apply(move, [Item({"well": "A01"}, spots)])[0][1] != spots
    assert not spots.coordinates.any()  # it was given a copy


@pytest.mark.parametrize(
    "write",
    [
        lambda plane: plane.sort(),
        lambda plane: plane.fill(1),
        lambda plane: np.put(plane, 0, 1),
        lambda plane: plane.__setitem__(0, 1),
        lambda plane: memoryview(plane).__setitem__((0, 0), 1),
    ],
)
def test_all_ways_to_write_to_an_input_are_explained(write):
    with pytest.raises(PipelineError, match="inputs are read-only"):
        apply(write)


def test_what_else_is_read_only_is_not_the_input():
    def save(plane):
        raise ValueError("store was opened in read-only mode and does not support writing")

    with pytest.raises(ValueError, match="opened in read-only mode") as raised:
        apply(save)
    assert not isinstance(raised.value, PipelineError)


def test_what_the_function_raises_comes_out():
    def divide(plane):
        raise ZeroDivisionError("by 0")

    with pytest.raises(ZeroDivisionError, match="by 0"):
        apply(divide)


def test_stacks_with_holes_or_of_different_shapes():
    with pytest.raises(PipelineError, match=r"5 items of 'source'.* cannot fill"):
        apply(lambda v: v, stack()[:-1], over=["z", "channel"])
    odd = [*stack(["DAPI"], [0]), Item({"well": "A01", "channel": "DAPI", "z": 1}, np.ones((9, 9)))]
    with pytest.raises(PipelineError, match="different shapes"):
        apply(lambda v: v, odd, over="z")


coordinates = st.fixed_dictionaries(
    {"well": st.just("A01")},
    optional={"channel": st.sampled_from(["a", "b", "c"]), "z": st.integers(0, 2)},
)
inputs = st.lists(
    coordinates, min_size=1, max_size=6, unique_by=lambda at: tuple(sorted(at.items()))
)


@given(inputs, inputs)
def test_meetings_are_a_natural_join(first, second):
    def agree(one, other):
        return all(one[k] == other[k] for k in one.keys() & other.keys())

    pairs = [(a, b) for a in first for b in second if agree(a, b)]
    given_items = ([Item(at, float(i)) for i, at in enumerate(side)] for side in (first, second))
    step = compiled(lambda a, b: 1000 * a + b, inputs=["other", "source"])
    if any(not any(agree(a, b) for b in second) for a in first):
        with pytest.raises(PipelineError, match="meets none"):
            apply_step(step, list(given_items))
        return
    made = apply_step(step, list(given_items))
    assert [(dict(i.at), i.value) for i in made] == [
        ({**a, **b}, 1000 * first.index(a) + second.index(b)) for a, b in pairs
    ]


def test_the_source_of_all_this_is_what_people_write():
    source = Source.mapping({"A01": np.ones((2, 4, 5))}, axes=("z", "y", "x"))
    step = Pipeline([Step("sum", np.sum, over="z", gives={})], AXES).compile(source).steps[0]
    assert step.inputs == ("source",) and step.over == ("z",)
