from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import as_array
from napari_streaming.wire.dialects import openhcs_control as control
from napari_streaming.wire.dialects.openhcs import (
    Translator,
    batch_reply,
    image_ack,
    wanted_modes,
)
from napari_streaming.wire.dialects.openhcs_messages import Batch, read_batch

NOW = 1000.0
PIXELS = [[1, 2, 3], [4, 5, 6]]


def batch_of(*images, **message) -> Batch:
    return read_batch(
        json.dumps({"type": "batch", "images": images} | message).encode(), pickles=False
    )


def pieces(image, translator=None, **message):
    batch = batch_of(image, **message)
    return (translator or Translator()).pieces(batch.image(0), batch, NOW)


def piece(image, translator=None, **message):
    (one,) = pieces({"data": PIXELS, "dtype": "uint8"} | image, translator, **message)
    one.checked(one.buffers)
    return one


def data(one):
    return as_array(one.item.arrays[0], one.buffers[0])


def shapes(*figures, **fields):
    return {"shapes": figures, "data_type": "shapes"} | fields


@pytest.mark.parametrize(
    ("producer", "name"),
    [
        ({"step_name": "blur", "pipeline_position": 0, "output_kind": "main"}, "1. blur"),
        ({"step_name": "blur", "output_kind": "main", "output_key": "image"}, "blur"),
        ({"step_name": "cut", "pipeline_position": 2, "output_kind": "special", "output_key": "m"},
         "3. cut m"),
        ({"output_key": "view", "output_kind": "manual"}, "view"),
        ({}, "OpenHCS"),
        ({"pipeline_position": 1}, "2. OpenHCS"),
    ],
)  # fmt: skip
def test_a_layer_is_called_like_the_step(producer, name):
    assert piece({"producer_identity": producer}).declare.name == name
    (rois,) = pieces(shapes(producer_identity=producer))
    assert rois.declare.name == f"{name} ROIs"


def test_components_are_coordinates_in_the_order_of_the_sender():
    order = ["site", "channel", "z_index", "timepoint", "well"]
    metadata = {"well": "A01", "dose": 0.5, "timepoint": "12", "channel": None, "site": "007"}
    at = piece({"metadata": metadata}, display_config={"component_order": order}).item.at
    assert list(at.items()) == [("site", "007"), ("timepoint", 12), ("well", "A01"), ("dose", 0.5)]


def test_a_value_keeps_the_name_that_it_came_with():
    translator = Translator()
    names = {"channel": {"1": "DAPI", "2": "none", "3": "3"}, "well": None}

    def channel(value, **message):
        return piece({"metadata": {"channel": value}}, translator, **message).item.at["channel"]

    assert channel(1, component_names_metadata=names) == "1: DAPI"
    assert [channel(value, component_names_metadata=names) for value in (2, 3, 4)] == [2, 3, 4]
    assert channel(1) == channel("1") == "1: DAPI"
    assert channel(2, component_names_metadata={"channel": {"2": "GFP"}}) == 2


def test_what_has_no_components_is_told_apart_by_its_file():
    assert piece({"path": "/a/b/c.tif"}).item.at == {"file": "c.tif"}
    assert piece({"path": "/a/b/c.tif", "metadata": {"source": "x"}}).item.at == {"file": "c.tif"}
    assert piece({}).item.at == {}


def test_images_of_one_kind_share_a_stream_and_are_numbered():
    translator = Translator()
    first, second = piece({}, translator), piece({}, translator)
    other = piece({"dtype": "float32"}, translator)
    assert first.declare is second.declare
    assert [p.item.sequence for p in (first, second, other)] == [0, 1, 0]
    assert other.declare.stream != first.declare.stream == first.item.stream


@pytest.mark.parametrize(
    ("dtype", "ours"),
    [("bool", "|b1"), ("uint16", "<u2"), ("<i4", "<i4"), (">f8", "<f8"), ("float16", "<f2")],
)
def test_pixels_become_little_endian(dtype, ours):
    one = piece({"data": [[0, 1]], "dtype": dtype})
    assert (one.declare.dtype, data(one).tolist()) == (ours, [[0, 1]])


@pytest.mark.parametrize(
    "dtype", ["object", "complex64", "f4,i4", "U3", "datetime64", "float128", "O"]
)
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(MalformedError, match="dtype"):
        piece({"dtype": dtype})


def test_inline_data_may_be_flat_and_needs_no_dtype():
    one = piece({"data": [1, 2, 3, 4, 5, 6], "shape": [2, 3], "dtype": None})
    assert data(one).tolist() == PIXELS
    for wrong in ([1, 2], [[1], [2, 3]], [["a"]], [[{}]], 7, [], [[300]]):
        with pytest.raises(MalformedError):
            piece({"data": wrong})


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_the_colour_axis_may_be_any(axis):
    colours = np.arange(18, dtype="u1").reshape(2, 3, 3)
    sent = np.moveaxis(colours, -1, axis)
    one = piece({"data": sent.tolist(), "source_channel_axis": axis})
    assert (one.declare.rgb, one.declare.shape) == (True, (2, 3, 3))
    np.testing.assert_array_equal(data(one), colours)


def test_a_payload_of_several_planes():
    several = {"data": [PIXELS] * 2, "metadata": {"well": "A01", "z_index": 9}}
    one = piece(several | {"plane_component_values": {"z_index": [4, 5]}})
    assert (one.item.at, one.item.along) == ({"well": "A01"}, {"z_index": (4, 5)})
    assert piece(several | {"plane_axis": "runtime_slice"}).item.along == {"runtime_slice": (0, 1)}
    deeper = piece({"data": [[PIXELS] * 2] * 3, "plane_component_values": {"z_index": [1, 2, 3]}})
    assert deeper.item.along == {"z_index": (1, 2, 3), "plane": (0, 1)}
    single = piece({"plane_component_values": {"z_index": [4]}})
    assert (single.item.at, single.item.along) == ({"z_index": 4}, {})
    for wrong in ({"z_index": [1]}, {"z_index": [1, 1]}, {"z_index": [1, 2], "site": [1]}):
        with pytest.raises(MalformedError):
            piece(several | {"plane_component_values": wrong})


def test_an_absurd_number_of_planes_is_refused_before_they_are_counted():
    huge = {"shm_name": "s", "shape": [2**39, 2, 2], "dtype": "uint8", "data": None}
    with pytest.raises(MalformedError, match="at most 65536"):
        piece(huge)


def test_a_crop_lies_where_it_came_from():
    crop = piece({"spatial_origin_yx": [2, 1], "source_spatial_shape_yx": [9, 8]})
    assert (crop.declare.shape, crop.item.offset) == ((9, 8), (2, 1))
    whole = piece({"spatial_origin_yx": [0, 0], "source_spatial_shape_yx": [2, 3]})
    assert (whole.declare.shape, whole.item.offset) == ((2, 3), ())
    spacing = {"source_voxel_spacing": {"values_zyx": [2.0, 0.5, 0.25], "unit": "micrometers"}}
    loose = piece({"spatial_origin_yx": [2, 1], "image_metadata": spacing})
    assert (loose.declare.shape, loose.item.translate) == ((2, 3), (1.0, 0.25))
    assert (loose.declare.scale, loose.declare.units) == ((0.5, 0.25), ("micrometer",) * 2)
    for origin, source in (([-1, 0], [9, 9]), ([8, 0], [9, 9]), ([0, 0], [1, 1])):
        with pytest.raises(MalformedError, match="do not lie within"):
            piece({"spatial_origin_yx": origin, "source_spatial_shape_yx": source})


def test_the_display_as_the_sender_would_like_it():
    modes = {"site": "stack", "channel": "layer", "well": "window", "t": "slice", "z": "frame"}
    batch = batch_of({"data": PIXELS}, display_config={"component_modes": modes, "colormap": "red"})
    assert wanted_modes(batch) == {
        "site": "stack", "channel": "split", "well": "window", "t": "split", "z": "stack",
    }  # fmt: skip
    assert piece({}, display_config={"colormap": "red"}).declare.colormap == "red"


@pytest.mark.parametrize(("said", "known"), [(900.0, 900.0), (2000.0, NOW), (-1, NOW), (None, NOW)])
def test_when_it_was_sent(said, known):
    assert piece({}, timestamp=said).item.time == known


def test_shapes_of_all_types():
    figures = [
        {"type": "polygon", "coordinates": [[0, 0], [0, 1], [1, 1]], "metadata": {"label": "a"}},
        {"type": "polygon", "coordinates": [[0, 0], [0, 1]], "metadata": {"area": 2}},
        {"type": "path", "coordinates": [[5, 5]]},
        {"type": "line", "coordinates": [[0, 0], [1, 1]]},
        {"type": "rectangle", "coordinates": [[0, 0], [0, 1], [1, 1], [1, 0]]},
        {"type": "ellipse", "coordinates": [[0, 0], [0, 1], [1, 1], [1, 0]]},
    ]
    (one,) = pieces(shapes(*figures))
    one.checked(one.buffers)
    arrays = {a.name: as_array(a, b) for a, b in zip(one.item.arrays, one.buffers, strict=True)}
    assert arrays["types"].tolist() == [4, 2, 2, 2, 0, 1]
    assert np.diff(arrays["offsets"]).tolist() == [3, 2, 2, 2, 4, 4]
    assert arrays["features/label"].tolist() == ["a", "", "", "", "", ""]
    assert arrays["features/area"][1] == 2


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"type": "mask", "coordinates": []}, "'mask' is not known"),
        ({"type": "polygon"}, "without 'coordinates'"),
        ({"type": "polygon", "coordinates": []}, r"pairs \(y, x\)"),
        ({"type": "polygon", "coordinates": [[1, 2, 3]] * 3}, r"pairs \(y, x\)"),
        ({"type": "polygon", "coordinates": [[1, 2], [3]]}, "shapes\\[1\\]"),
        ({"type": "polygon", "coordinates": [["a", "b"]] * 3}, "could not convert"),
        ({"type": "polygon", "coordinates": [[1, float("nan")]] * 3}, "not finite"),
        ({"type": "ellipse", "center": [1, 2]}, "without 'coordinates'"),
        ({"type": "line", "coordinates": [[1, 2]]}, "a line with 1 vertices"),
    ],
)
def test_a_wrong_shape_is_named(figure, words):
    good = {"type": "points", "coordinates": [1, 2]}
    with pytest.raises(MalformedError, match=words):
        pieces(shapes(good, figure))


def test_names_that_are_no_unicode_are_refused():
    with pytest.raises(MalformedError):
        piece({"metadata": {"well": "\ud800"}})
    with pytest.raises(MalformedError):
        piece({"producer_identity": {"step_name": "\ud800"}})


def test_replies():
    assert json.loads(batch_reply([])) == {"status": "success", "type": "batch"}
    said = json.loads(batch_reply(["a", "b", "c", "d", "e"]))
    assert said == {"status": "error", "type": "batch", "message": "a; b; c; and 2 more"}
    ack = {"type": "image_ack", "image_id": "i", "viewer_port": 5, "viewer_type": "napari"}
    assert json.loads(image_ack("i", 5, 1.0)) == ack | {"status": "success", "timestamp": 1.0}
    assert json.loads(image_ack("i", 5, 1.0, "bad"))["error"] == "bad"


def test_requests_and_their_answers():
    assert control.read_request(pickle.dumps({"type": "settle", "payload": [1]})) == "settle"
    for wrong in (b"", b"{}", pickle.dumps(1), pickle.dumps({"type": 1}), pickle.dumps({})):
        with pytest.raises(MalformedError):
            control.read_request(wrong)
    with pytest.raises(MalformedError, match="at most 65536"):
        control.read_request(pickle.dumps({"type": "x" * 65536}))
    assert pickle.loads(control.refusal("no", "k")) == {  # noqa: S301
        "status": "error", "type": "k", "message": "no",
    }  # fmt: skip


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = [
    "path", "image_id", "data_type", "shape", "dtype", "shm_name", "data", "shapes", "metadata",
    "producer_identity", "source_channel_axis", "plane_axis", "plane_component_values",
    "spatial_origin_yx", "source_spatial_shape_yx", "image_metadata",
]  # fmt: skip
LIKELY = {
    "data": PIXELS,
    "dtype": "uint8",
    "metadata": {"well": "A01"},
    "source_channel_axis": -1,
    "plane_component_values": {"z_index": [1]},
    "spatial_origin_yx": [0, 0],
    "source_spatial_shape_yx": [4, 4],
    "shapes": [{"type": "points", "coordinates": [[1, 2]]}],
    "image_metadata": {"source_voxel_spacing": {"values_zyx": [1, 1], "unit": "relative"}},
}
IMAGES = st.fixed_dictionaries(
    {},
    optional={name: JUNK | st.just(LIKELY.get(name)) for name in FIELDS},
)
MESSAGES = st.fixed_dictionaries(
    {"images": st.lists(IMAGES, max_size=3) | JUNK},
    optional={
        "timestamp": JUNK,
        "component_names_metadata": JUNK,
        "display_config": st.fixed_dictionaries(
            {}, optional={"component_modes": JUNK, "component_order": JUNK, "colormap": JUNK}
        ),
    },
)


@settings(deadline=None, max_examples=500)
@given(MESSAGES | IMAGES | JUNK)
def test_any_json_is_shown_within_bounds_or_refused(message):
    try:
        batch = read_batch(json.dumps(message).encode(), pickles=False)
        wanted_modes(batch)
        for number in range(len(batch.images)):
            batch.said(number, "path")
            for one in Translator().pieces(batch.image(number), batch, NOW):
                if one.shared is None:
                    one.checked(one.buffers)
    except MalformedError as error:
        assert len(str(error)) < 2000


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_batch_or_refused(frame, pickles):
    for read in (lambda f: read_batch(f, pickles=pickles), control.read_request):
        try:
            read(frame)
        except MalformedError:
            continue
