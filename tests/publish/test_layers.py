from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import DataError
from napari_streaming.publish.geometry import points_spec
from napari_streaming.publish.layers import Part, image_spec, labels_spec
from napari_streaming.publish.staging import clean_coordinates, clean_name
from napari_streaming.wire.codec import pack, unpack

NOTHING = {"axes": None, "scale": (), "translate": (), "units": (), "qos": "latest"}
PLANES = NOTHING | {"part": Part()}
IMAGE = PLANES | {"rgb": None, "colormap": "", "contrast_limits": None}
PLANE = np.zeros((4, 5), np.uint16)


def image(plane=PLANE, **changes):
    return image_spec(plane, **(IMAGE | changes))[0]


def labels(mask, **changes):
    return labels_spec(mask, **(PLANES | changes))


def declared(spec, name="a"):
    """Return the declaration as it arrives: it can be sent at all."""
    return unpack([pack(spec.declare(0, name))])[0]


# ---- images ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [
        ("bool", "|b1"), ("u1", "|u1"), ("i1", "|i1"), (">u2", "<u2"), ("<i4", "<i4"),
        (">i8", "<i8"), ("f2", "<f2"), (">f4", "<f4"), ("f8", "<f8"),
    ],
)  # fmt: skip
def test_every_number_can_be_sent(dtype, sent):
    assert declared(image(np.zeros((2, 3), dtype))).dtype == sent


@pytest.mark.parametrize(
    ("plane", "axes", "rgb"),
    [
        (np.zeros((2, 3)), ("y", "x"), False),
        (np.zeros((4, 2, 3)), ("z", "y", "x"), False),
        (np.zeros((4, 2, 3), "u1"), ("y", "x"), True),
        (np.zeros((4, 2, 4), "u1"), ("y", "x"), True),
        (np.zeros((4, 2, 5), "u1"), ("z", "y", "x"), False),
        (np.zeros((9, 8, 4, 2, 5)), ("axis_0", "axis_1", "z", "y", "x"), False),
        ([[1, 2], [3, 4]], ("y", "x"), False),
    ],
)
def test_axes_have_names_by_default(plane, axes, rgb):
    spec = image(plane)
    assert (spec.axes, spec.rgb) == (axes, rgb)
    assert declared(spec).axes == axes


@pytest.mark.parametrize(
    ("plane", "hint"),
    [
        (np.zeros((2, 2), complex), "absolute value"),
        (np.zeros((2, 2), object), "one array of numbers"),
        (np.zeros((2, 2), "M8[s]"), "convert it to numbers"),
        (np.zeros((2, 2), "m8[s]"), "convert it to numbers"),
        (np.zeros((2, 2), "S3"), "convert it to numbers"),
        (np.zeros((2, 2), "U3"), "convert it to numbers"),
        (np.zeros((2, 2), "i4,f4"), "convert it to numbers"),
        (np.zeros((2, 2), np.longdouble), "float64"),
        ([[1, 2], [3]], "inhomogeneous"),
        ("text", "convert it to numbers"),
        (None, "one array of numbers"),
        (np.zeros(5), r"\(y, x\)"),
        (3.0, r"\(y, x\)"),
        (np.zeros((0, 5)), "no pixels"),
        (np.zeros((3, 0, 5)), "no pixels"),
        (np.zeros((1,) * 17), "at least"),
    ],
)
def test_what_is_no_plane(plane, hint):
    with pytest.raises(DataError, match=hint):
        image(plane)


def test_what_cannot_be_made_an_array():
    class OnTheGPU:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(DataError, match="cuda"):
        image(OnTheGPU())


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"axes": ("y",)}, "2 different names"),
        ({"axes": ("y", "y")}, "2 different names"),
        ({"axes": ("y", "")}, "no name"),
        ({"axes": ("y", 3)}, "no name"),
        ({"axes": ("y", "x" * 257)}, "no name"),
        ({"scale": (1,)}, "one number for each"),
        ({"scale": (1, 0)}, "scale 0"),
        ({"scale": (1, float("nan"))}, "finite"),
        ({"scale": 0.5}, "sequence of numbers"),
        ({"scale": "ab"}, "sequence of numbers"),
        ({"translate": (1, float("inf"))}, "finite"),
        ({"translate": (1, 2, 3)}, "one number for each"),
        ({"units": ("um",)}, "one for each"),
        ({"units": "u" * 257}, "no name"),
        ({"contrast_limits": (1, 0)}, "lower one first"),
        ({"contrast_limits": (1, 1)}, "lower one first"),
        ({"contrast_limits": (1, 2, 3)}, "lower one first"),
        ({"contrast_limits": (0, float("nan"))}, "finite"),
        ({"contrast_limits": 5}, "sequence of numbers"),
        ({"colormap": "c" * 257}, "no name"),
        ({"rgb": True}, "rgb needs"),
    ],
)
def test_what_is_wrong_with_a_layer(changes, hint):
    with pytest.raises(DataError, match=hint):
        image(**changes)


def test_all_that_is_said_of_a_layer_arrives():
    spec = image(
        axes=("lat", "lon"), scale=np.array([0.5, 2]), translate=[1, 2], units="µm",
        colormap="viridis", contrast_limits=np.array([0, 9]),
    )  # fmt: skip
    said = declared(spec, "🔬")
    assert (said.name, said.axes, said.units) == ("🔬", ("lat", "lon"), ("µm", "µm"))
    assert (said.scale, said.translate) == ((0.5, 2.0), (1.0, 2.0))
    assert (said.colormap, said.contrast_limits) == ("viridis", (0.0, 9.0))


@pytest.mark.parametrize("field", ["colormap", "units", "axes"])
def test_lone_surrogates_can_be_sent_anywhere(field):
    assert declared(image(**{field: ("\ud800", "\udfff.") if field == "axes" else "\udc80"}))


def test_the_structure_is_compared_without_what_the_user_changes():
    assert image().same_structure(image(colormap="red", contrast_limits=(0, 1)))
    for changes in ({"scale": (1, 2)}, {"translate": (1, 1)}):  # each plane has its own
        assert image().same_structure(image(**changes))
        (mine, _), (others, _) = (
            points_spec(np.zeros((1, 2)), {}, **(NOTHING | more)) for more in ({}, changes)
        )
        assert not mine.same_structure(others)
    for changes in ({"axes": ("a", "b")}, {"units": "um"}, {"qos": "reliable"}):
        assert not image().same_structure(image(**changes))
    assert not image().same_structure(image(PLANE.astype("f4")))
    assert not image().same_structure(image(PLANE[1:]))


# ---- labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "sent"), [("bool", "|u1"), (">i4", "<i4"), ("u8", "<u8")])
def test_labels_are_integers(dtype, sent):
    mask = np.zeros((6, 8), dtype)[::2, ::-1]
    mask[1, 1] = 1
    spec, array = labels(mask)
    assert declared(spec).dtype == sent
    assert array[1, 1] == 1 and array.sum() == 1


def test_labels_of_floats_are_refused():
    with pytest.raises(DataError, match="astype"):
        labels(np.zeros((2, 2)))


# ---- names and coordinates -------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=256))
def test_any_unicode_is_a_name(name):
    spec = image()
    assert declared(spec, clean_name(name)).name == clean_name(name)
    assert clean_coordinates({name: name}).keys() == {clean_name(name)}


@pytest.mark.parametrize("name", ["", "x" * 257, "x" * 300, 5, None, b"a"])
def test_what_is_no_name(name):
    with pytest.raises(DataError, match="no name"):
        clean_name(name)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (3, 3), (np.int64(3), 3), (np.uint64(2**63 - 1), 2**63 - 1), (True, 1), (np.True_, 1),
        (0.5, 0.5), (np.float32(0.5), 0.5), (np.float16(0.5), 0.5), ("A01", "A01"), ("", ""),
        (np.str_("A01"), "A01"), (-(2**63), -(2**63)),
    ],
)  # fmt: skip
def test_coordinates_are_numbers_or_strings(value, sent):
    cleaned = clean_coordinates({"c": value})["c"]
    assert cleaned == sent and type(cleaned) is type(sent)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), np.float64("nan"), None, [1], (1, 2), 2**63, -(2**63) - 1,
        1j, b"A01", np.array([1]), "x" * 257, object(), np.longdouble(1),
    ],
)  # fmt: skip
def test_what_is_no_coordinate(value):
    with pytest.raises(DataError, match=r"'c'|1 to 256"):
        clean_coordinates({"c": value})


def test_too_many_coordinates():
    assert len(clean_coordinates({str(i): i for i in range(16)})) == 16
    with pytest.raises(DataError, match="at most 16"):
        clean_coordinates({str(i): i for i in range(17)})


# ---- parts -----------------------------------------------------------------------------


def test_several_planes_and_parts_of_a_plane():
    planes = np.zeros((3, 4, 5), np.uint16)
    assert image(planes, part=Part((3,))).shape == (4, 5)
    assert image(part=Part((), (6, 0), (10, 5))).shape == (10, 5)
    assert image(planes, part=Part((3,), (6, 0), (10, 5))).shape == (10, 5)
    colour = np.zeros((4, 5, 3), np.uint8)
    assert image(colour, part=Part((), (1, 1), (10, 9, 3))).shape == (10, 9, 3)


@pytest.mark.parametrize(
    "part",
    [
        Part((2,)), Part((), (0, 0)), Part((), (), (9, 9)), Part((), (0, 0), (3, 9)),
        Part((), (-1, 0), (9, 9)), Part((), (6, 0), (9, 9)), Part((), (0, 0, 0), (9, 9)),
    ],
)  # fmt: skip
def test_a_part_that_does_not_fit_is_refused(part):
    with pytest.raises(DataError, match=r"shape|offset"):
        image(part=part)
