"""What compiling resolves, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from napari_streaming.errors import DataError, PipelineError, URLError
from napari_streaming.pipeline import Materialize, Pipeline, Source, Step, Stream

URL = "tcp://127.0.0.1:5555"
PLANE = np.ones((4, 5), np.uint16)
WELLS = dict.fromkeys(("A01", "A02", "B01"), PLANE)
OUT = Materialize("out")


def same(plane):
    return plane


def compiled(*steps, source=None, axes=("well", "channel", "z"), wells=None, **pipeline):
    return Pipeline(steps, axes, **pipeline).compile(source or WELLS, wells=wells)


def grid(**labels):
    lengths = [len(labels.get(axis, range(n))) for axis, n in (("channel", 2), ("z", 3))]
    array = np.zeros((*lengths, 4, 5), np.uint16)
    return Source.mapping(
        dict.fromkeys(WELLS, array), axes=("channel", "z", "y", "x"), labels=labels
    )


def test_streams_are_inherited_field_by_field():
    plan = compiled(
        Step("a", same, output=OUT),
        Step("b", same, output=OUT, stream=Stream(layer="labels", skip_wells="A02")),
        Step("c", same, output=OUT, stream=Stream(url="tcp://127.0.0.1:6666", wells=1)),
        Step("d", same, output=OUT, stream=Stream(enabled=False)),
        Step("e", same, stream=Stream()),
        stream=Stream(url=URL, colormap="green", wells="row:A", persistent=False),
    )
    a, b, c, d, _ = plan.steps
    assert (a.stream.url, a.stream.colormap, a.selected) == (URL, "green", {"A01", "A02"})
    assert (b.stream.layer, b.stream.colormap, b.selected) == ("labels", "green", {"A01"})
    assert (c.stream.url, c.selected) == ("tcp://127.0.0.1:6666", {"A01"})
    assert d.stream.enabled is False and d.stream.url == URL
    assert [(v.url, v.steps, v.persistent) for v in plan.viewers] == [
        (URL, ("a", "b"), False),
        ("tcp://127.0.0.1:6666", ("c",), False),
    ]


def test_no_viewer_is_needed_for_what_is_not_streamed():
    nobody = Stream(url=URL, wells=0)
    assert compiled(Step("a", same, output=OUT, stream=nobody)).viewers == ()
    assert compiled(Step("a", same, stream=Stream(url=URL))).viewers == ()


def test_explain_says_what_and_why():
    plan = compiled(
        Step("denoise", same),
        Step("segment", same, materialize=OUT, stream=Stream(wells=["A01", "row:B"])),
        Step("measure", same, output=Materialize("results", "zarr", overwrite=False)),
        stream=Stream(url=URL + "#secret"),
    )
    memory, some, all_wells = plan.explain().steps
    assert (memory.streamed, memory.written) == (0, ())
    assert (some.streamed, some.total, some.url) == (2, 3, URL)
    assert (all_wells.streamed, all_wells.why) == (
        3,
        ("it is written as main output, if not there yet",),
    )
    text = str(plan.explain())
    assert "stays in memory" in text
    assert "checkpoint: out/segment (disk)" in text
    assert "the well filter leaves it out (1 of 3 wells)" in text
    assert "main output: results/measure (zarr, if not there yet)" in text
    assert "secret" not in text
    assert repr(plan.explain()) == text


def test_explain_begins_with_what_is_streamed():
    plan = compiled(Step("a", same, output=OUT, stream=Stream(url=URL, wells="A01")))
    assert plan.explain().steps[0].why == (
        "it is written as main output (1 of 3 wells)",
        "the well filter leaves it out (2 of 3 wells)",
    )


def test_a_plan_does_not_print_its_pixels():
    assert "array" not in repr(compiled(Step("a", same)))


def test_materialize_inherits_from_the_pipeline():
    plan = compiled(
        Step("a", same, output=OUT, materialize=Materialize("c", "disk", overwrite=True)),
        backend="zarr",
        overwrite=False,
    )
    output, checkpoint = plan.steps[0].targets
    assert (output.backend, output.overwrite) == ("zarr", False)
    assert (checkpoint.backend, checkpoint.overwrite) == ("disk", True)


def test_wells_are_chosen_and_keep_their_order():
    assert compiled(Step("a", same), wells="B01,A01").wells == ("A01", "B01")
    assert compiled(Step("a", same), wells=0).wells == ()
    # A filter may speak of wells of the plate that this run leaves out.
    step = Step("a", same, output=OUT, stream=Stream(url=URL, wells="row:B"))
    assert compiled(step, wells="A01").viewers == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"overwrite": "no"}, "overwrite='no': use True or False"),
        ({"stream": URL}, r"use Stream\("),
        ({"stream": Stream(enabled="no")}, "step 'a': enabled='no'"),
    ],
)
def test_what_is_wrong_of_the_whole_pipeline(wrong, message):
    with pytest.raises(PipelineError, match=message):
        Pipeline([Step("a", same)], **wrong).compile(grid())


def test_one_is_no_more_than_one():
    plan = compiled(Step("a", same), source={"A01": np.ones((2, 2))})
    assert str(plan.explain()).startswith("pipeline: 1 well, 1 step\n")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "no steps"),
        ([Step("", same)], "needs a name"),
        ([Step("source", same)], "choose another name"),
        ([Step("a", same), Step("a", same)], "step 'a': two steps have this name"),
        ([Step("a", 3)], "step 'a': 3 is no function"),
        ([Step("a", same, inputs=["b"]), Step("b", same)], "'a'.*called 'b'; there are source"),
        ([Step("a", same, inputs=["source", "source"])], "names something twice"),
        ([Step("a", same, where={"chanel": "DAPI"})], "'a': where: 'chanel' is none of.*channel"),
        ([Step("a", same, where={"channel": "CY5"})], "channel='CY5'; there are 'DAPI', 'GFP'"),
        ([Step("a", same, where={"z": []})], "different coordinates"),
        ([Step("a", same, over=["site"])], "over: 'site' is none of"),
        ([Step("a", same, over=["well"])], "cannot see all of them"),
        ([Step("a", same, over="z", gives={}), Step("b", same, over="z")], "over: no input has"),
        ([Step("a", same, gives={"stain": ["H"]})], "gives: 'stain' is none of"),
        ([Step("a", same, gives={"well": ["H"]})], "unit of work"),
        ([Step("a", same, gives={"channel": ["H"]})], "already; put it in over"),
        ([Step("a", same, over="z", gives={"z": 1})], "needs a list"),
        ([Step("a", same, over="channel", gives={"channel": ["H", "H"]})], "different coordinates"),
        ([Step("a", same, output=Materialize("x", "memory"))], "'memory' does not materialise"),
        ([Step("a", same, output=Materialize("../x"))], "must be relative"),
        ([Step("a", same, output=Materialize("/x"))], "must be relative"),
        ([Step("a", same, stream=Stream(layer="mesh"))], "layer='mesh': use one of image"),
        ([Step("a", same, stream=Stream(qos="best"))], "qos='best'"),
        ([Step("a", same, stream=Stream(contrast_limits=(1, 1)))], "lower one first"),
        ([Step("a", same, stream=Stream(wells="row:Q"))], "step 'a': the well filter 'row:Q'"),
        ([Step("a", same, stream=Stream(skip_wells="Q1"))], "matches nothing; the wells are A01"),
        (
            [Step("a/b", same, output=OUT), Step("a:b", same, materialize=OUT)],
            "the steps 'a/b' and 'a:b' are both written to out/a_b; rename",
        ),
        ([Step("Mask", same, output=OUT), Step("mask", same, output=OUT)], "'Mask' and 'mask'"),
        ([same], r"function same.* is no step; use Step\("),
        ([Step("a", same, output="results")], r"'a': main output: 'results': use Materialize\("),
        ([Step("a", same, stream=URL)], r"use Stream\("),
        ([Step("a", same, stream=Stream(url=5555))], "url=5555: use a text like"),
        ([Step("a", same, stream=Stream(contrast_limits=5))], "contrast_limits=5"),
        ([Step("a", same, stream=Stream(scale=0.5))], r"scale=0.5.*like \(0.5, 0.5\)"),
        ([Step("a", same, stream=Stream(scale=(0, 1)))], "the size of a pixel"),
        ([Step("a", same, stream=Stream(scale=(0.5,)))], r"scale=\(0.5,\): use the size of"),
        ([Step("a", same, stream=Stream(enabled="no"))], "'a': enabled='no': use True or False"),
        ([Step("a", same, stream=Stream(persistent=3))], "'a': persistent=3: use True or False"),
        ([Step("a", same, stream=Stream(name=3))], "'a': name=3: use a text"),
        ([Step("a", same, output=Materialize("x", overwrite="no"))], "overwrite='no': use True"),
        ([Step("a", same, where={"well": "A01"})], r"where: every well.*wells=...\) chooses"),
        ([Step("a", same, output=OUT, materialize=OUT)], "main output and its checkpoint are both"),
    ],
)  # fmt: skip
def test_what_cannot_run_names_the_step_and_the_way_out(steps, message):
    with pytest.raises(PipelineError, match=message):
        compiled(*steps, source=grid(channel=["DAPI", "GFP"]))


def test_one_folder_may_hold_two_formats():
    compiled(Step("a", same, output=OUT, materialize=Materialize("out", backend="zarr")))


def test_coordinates_follow_from_step_to_step():
    with pytest.raises(PipelineError, match="channel='GFP'; there are 'DAPI'"):
        compiled(
            Step("a", same, where={"channel": "DAPI"}),
            Step("b", same, where={"channel": "GFP"}),
            source=grid(channel=["DAPI", "GFP"]),
        )
    compiled(Step("a", same, where={"z": np.int64(1)}), source=grid())
    compiled(
        Step("unmix", same, over="channel", gives={"channel": ("H", "DAB")}),
        Step("b", same, where={"channel": "DAB"}),
        source=grid(),
    )
    # Only loading tells what a file holds.
    compiled(Step("a", same, where={"channel": "DAPI"}), source={"A01": "there/is/no.tif"})


def test_a_url_that_cannot_be_used_names_its_step():
    with pytest.raises(URLError, match=r"step 'a'.*'http://x'"):
        compiled(Step("a", same), stream=Stream(url="http://x"))


@pytest.mark.parametrize("axes", [(), ("well", "well"), ("",), ("well", "y", "x")])
def test_axes_are_different_names(axes):
    with pytest.raises(PipelineError, match="axes="):
        compiled(Step("a", same), axes=axes)


def test_a_filter_of_the_run_that_matches_nothing():
    with pytest.raises(PipelineError, match=r"compile\(wells=...\): the well filter 'C01'"):
        compiled(Step("a", same), wells="C01")


def test_wells_with_one_file_name():
    with pytest.raises(PipelineError, match="'a/1' and 'a:1' would have the same file names"):
        compiled(Step("a", same), source={"a/1": PLANE, "a:1": PLANE})


@pytest.mark.parametrize("source", [{}, 3, PLANE])
def test_what_is_no_source(source):
    with pytest.raises((PipelineError, DataError)):
        Pipeline([Step("a", same)]).compile(source)
