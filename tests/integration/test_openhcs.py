from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

PLANE = [[1, 2, 3], [4, 5, 6]]
HERE = str(Path(__file__).parent)


@pytest.fixture(params=["tcp", "ipc"])
def pair(request, receiver, remote, monkeypatch, private_runtime):
    """A receiver and a sender of OpenHCS's kind, which is another process."""
    yield from connected(request.param, "", receiver, remote, monkeypatch, private_runtime)


@pytest.fixture
def pickling(receiver, remote, monkeypatch, private_runtime):
    """The same, over tcp, where pickled arrays are read."""
    yield from connected("tcp", "&pickle", receiver, remote, monkeypatch, private_runtime)


def connected(mode, flags, receiver, remote, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    where = "127.0.0.1:0" if mode == "tcp" else "5555"
    rec = receiver(f"openhcs+{mode}://{where}?listen{flags}")
    port = int(rec.sources[0].url.partition("?")[0].rpartition(":")[2].strip("/"))
    sender = remote()
    sender(f"import sys; sys.path.insert(0, {HERE!r})")
    sender(f"from openhcs_sender import Sender; s = Sender({port}, {mode!r})")
    yield rec, lambda call: sender(f"s.{call}")


SUCCESS = {"status": "success", "type": "batch"}


def at(**changes):
    return {"site": 1, "channel": 1, "z_index": 1, "timepoint": 1, "well": "A01"} | changes


def test_a_batch_is_a_stack_as_soon_as_it_is_answered(pair):
    rec, sender = pair
    planes = [
        {"array": (np.array(PLANE) * t).tolist(), "at": at(timepoint=t, channel=c)}
        for t in (1, 2)
        for c in (1, 2)
    ]
    assert sender(f"images({planes!r}, names={{'channel': {{'1': 'DAPI', '2': None}}}})") == SUCCESS
    (layer,) = rec.layers.values()
    assert (layer.name, layer.kind, layer.declare.colormap) == ("1. denoise", "image", "gray")
    assert layer.axes == ("site", "channel", "z_index", "timepoint", "well", "y", "x")
    assert layer.coordinates["channel"] == [2, "1: DAPI"]
    assert layer.data.shape == (1, 2, 1, 2, 1, 2, 3)
    np.testing.assert_array_equal(
        np.asarray(layer.data[0, 1, 0, :, 0]), np.multiply.outer((1, 2), PLANE)
    )
    assert layer.stats().received == 4


def test_sparse_stacks_and_one_image_in_each_call_are_shown(pair):
    rec, sender = pair
    for site, channel in ((1, 1), (2, 2)):
        image = {"array": PLANE, "at": at(site=site, channel=channel)}
        assert sender(f"images([{image!r}])") == SUCCESS
    layer = rec.layers["1. denoise"]
    assert layer.data.shape == (2, 2, 1, 1, 1, 2, 3)
    assert layer.data.count_missing() == 2
    np.testing.assert_array_equal(np.asarray(layer.data[1, 1, 0, 0, 0]), PLANE)
    assert not np.asarray(layer.data[0, 1]).any()


def test_an_image_that_comes_again_takes_the_place_of_the_first(pair):
    rec, sender = pair
    for value in (1, 2):
        image = {"array": [[value]], "at": at()}
        assert sender(f"images([{image!r}])") == SUCCESS
    layer = rec.layers["1. denoise"]
    assert np.asarray(layer.data).tolist() == [[[[[[[2]]]]]]]


def test_shapes_and_points(pair):
    rec, sender = pair
    shapes = [
        {
            "type": "polygon",
            "coordinates": [[0, 0], [0, 4], [3, 4]],
            "metadata": {"label": 7, "area": 6.0, "centroid": [1, 2]},
        },
        {"type": "path", "coordinates": [[0, 0], [1, 1], [2, 1]], "metadata": {"label": "x"}},
        {"type": "ellipse", "center": [5, 6], "radii": [1, 2], "metadata": {"label": 8}},
        {"type": "points", "coordinates": [[9, 9]], "metadata": {"label": 9}},
    ]
    points = [{"type": "points", "coordinates": [[1, 2], [3, 4]], "metadata": {"label": 1}}]
    assert sender(f"shapes({shapes!r}, {at()!r})") == SUCCESS
    assert sender(f"shapes({points!r}, {at(site=2)!r}, 'points')") == SUCCESS
    rois, dots = rec.layers["1. denoise ROIs"], rec.layers["1. denoise points"]
    assert (rois.kind, dots.kind) == ("shapes", "points")
    assert [outline[:, -2:].tolist() for outline in rois.data] == [
        [[0, 0], [0, 4], [3, 4]],
        [[0, 0], [1, 1], [2, 1]],
        [[4, 4], [4, 8], [6, 8], [6, 4]],
    ]
    assert rois.geometry()["types"].tolist() == [4, 3, 1]
    assert rois.features["label"].tolist() == ["7", "x", "8"]
    assert rois.features["area"][0] == 6.0
    assert dots.data[:, -2:].tolist() == [[9, 9], [1, 2], [3, 4]]
    assert dots.data[:, 0].tolist() == [0, 1, 1]  # their sites
    assert sender(f"shapes([], {at()!r})") == SUCCESS  # there are none any more
    assert rois.data == []


def test_colours_parts_of_planes_and_planes_in_one_payload(pair):
    rec, sender = pair
    colours = np.arange(18).reshape(2, 3, 3).tolist()
    rgb = {"array": colours, "as": "uint8", "at": at(), "source_channel_axis": 2}
    part = {
        "array": PLANE,
        "at": at(),
        "spatial_origin_yx": [1, 2],
        "source_spatial_shape_yx": [4, 6],
    }
    several = {
        "array": [PLANE, PLANE],
        "as": "float32",
        "at": at(),
        "plane_axis": "runtime_slice",
        "plane_component_values": {"z_index": [3, 5]},
    }
    assert sender(f"images([{rgb!r}, {part!r}, {several!r}])") == SUCCESS
    of_dtype = {(layer.declare.dtype, layer.declare.rgb): layer for layer in rec.layers.values()}
    coloured, partly = of_dtype["|u1", True], of_dtype["<u2", False]
    stack = of_dtype["<f4", False]
    np.testing.assert_array_equal(np.asarray(coloured.data[0, 0, 0, 0, 0]), colours)
    whole = np.zeros((4, 6), int)
    whole[1:3, 2:5] = PLANE
    np.testing.assert_array_equal(np.asarray(partly.data[0, 0, 0, 0, 0]), whole)
    assert stack.coordinates["z_index"] == [1, 3, 5]
    np.testing.assert_array_equal(np.asarray(stack.data[0, 0, 1:, 0, 0]), [PLANE, PLANE])


def test_the_sender_proposes_how_dimensions_are_shown_and_the_user_decides(pair):
    rec, sender = pair
    rec.layers.set_mode("well", "stack")
    image = {"array": PLANE, "at": at()}
    modes = {"channel": "layer", "site": "slice", "timepoint": "window", "well": "layer"}
    assert sender(f"images([{image!r}], modes={modes!r}, sizes='pad_to_max')") == SUCCESS
    shown = {name: rec.layers.mode(name) for name in rec.layers.dimensions}
    assert shown == {
        "site": "split", "channel": "split", "z_index": "stack",
        "timepoint": "window", "well": "stack",
    }  # fmt: skip
    assert rec.layers.sizes == "pad"
    rec.layers.set_mode("channel", "stack")
    rec.layers.set_sizes("split")
    assert sender(f"images([{image!r}], modes={modes!r}, sizes='pad_to_max')") == SUCCESS
    assert (rec.layers.mode("channel"), rec.layers.sizes) == ("stack", "split")


def test_messages_without_a_batch_as_they_once_were(pair):
    rec, sender = pair
    about = f"path='a.tif', metadata={at(source='blur')!r}, image_id='1', data_type='image'"
    assert sender(f"single({PLANE!r}, {about})") == SUCCESS
    inline = {"path": "b.tif", "shape": [2, 3], "dtype": "int32", "data": PLANE}
    assert sender(f"data({inline!r})") == SUCCESS
    np.testing.assert_array_equal(np.asarray(rec.layers["blur"].data).squeeze(), PLANE)
    unnamed = rec.layers["OpenHCS"]
    assert unnamed.coordinates["file"] == ["b.tif"]
    assert unnamed.data.dtype == "int32"
    np.testing.assert_array_equal(np.asarray(unnamed.data).squeeze(), PLANE)


def test_the_control_port(pair):
    rec, sender = pair
    pong = sender("control('ping')")
    port = pong["port"]
    assert pong == {
        "type": "pong", "port": port, "control_port": port + 1000, "ready": True,
        "server": "napari-streaming", "server_type": "napari", "server_role": "viewer",
        "control_capabilities": ["ping"],
        "application": {"application_id": "openhcs", "application_version": "0.8.6"},
    }  # fmt: skip
    image = {"array": PLANE, "at": at()}
    assert sender(f"images([{image!r}])") == SUCCESS
    settled = sender("control('settle')")
    assert (settled["status"], settled["settle_phase"]) == ("success", "complete")
    assert settled["completed_update_count"] == settled["total_update_count"] == 1
    (described,) = sender("control('state', payload={'x': [1]})")["payload"]["layers"]
    assert (described["name"], described["received"]) == ("1. denoise", 1)
    assert np.asarray(rec.layers["1. denoise"].data).any()
    assert sender("control('clear_state')")["status"] == "success"
    assert not np.asarray(rec.layers["1. denoise"].data).any()
    for kind in ("shutdown", "force_shutdown", "screenshot", "nonsense"):
        reply = sender(f"control({kind!r})")
        assert (reply["status"], bool(reply["message"])) == ("error", True)
    assert sender(f"images([{image!r}])") == SUCCESS  # it is still there
    assert np.asarray(rec.layers["1. denoise"].data).any()


# Over ipc only: on tcp, port 7555 of this machine may be somebody else's.
@pytest.mark.parametrize("pair", ["ipc"], indirect=True)
def test_each_image_is_acknowledged_to_who_counts_them(pair):
    _, sender = pair
    sender("count_acks()")
    good = {"array": PLANE, "at": at(), "image_id": "good"}
    bad = {"array": PLANE, "at": at(), "image_id": "bad", "dtype": "complex64"}
    assert sender(f"images([{bad!r}, {good!r}])")["status"] == "error"
    acks = [sender("next_ack()"), sender("next_ack()")]
    assert [(ack["image_id"], ack["status"]) for ack in acks] == [
        ("bad", "error"),
        ("good", "success"),
    ]
    assert {(ack["type"], ack["viewer_port"], ack["viewer_type"]) for ack in acks} == {
        ("image_ack", 5555, "napari")
    }
    assert "complex64" in acks[0]["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shm_name": "napari_gone"}, "napari_gone"),
        ({"shm_name": "../etc/passwd"}, "no name of shared memory"),
        ({"shape": [3, 3]}, "needed are 18"),
        ({"shape": [2**40, 2**40]}, "Expected `int` <= 1099511627775"),
        ({"shape": [0, 3]}, "Expected `int` >= 1"),
        ({"shape": [6]}, "at least y and x"),
        ({"shape": None}, "without 'shape'"),
        ({"dtype": "object"}, "dtype 'object'"),
        ({"dtype": None}, "without 'dtype'"),
        ({"data_type": "volume"}, "Invalid enum value 'volume'"),
        ({"data_type": "points"}, "points without 'shapes'"),
        ({"metadata": {"well": [1]}}, "metadata 'well'"),
        ({"metadata": {"y": 1}}, "'y' is an axis"),
        ({"source_channel_axis": 1, "shape": [3, 2]}, "source_channel_axis 1"),
        ({"spatial_origin_yx": [3, 0], "source_spatial_shape_yx": [4, 4]}, "do not lie within"),
        ({"plane_component_values": {"z_index": [1, 2]}}, "several values"),
        ({"plane_component_values": {"z_index": [1]}, "shape": [2, 1, 3]}, "1 values for 2"),
    ],
)
def test_what_is_wrong_is_said_and_costs_nothing_else(pickling, change, words):
    rec, sender = pickling
    good = {"array": PLANE, "at": at()}
    bad = {"array": PLANE, "at": at(), "path": "bad.tif"} | change
    reply = sender(f"images([{bad!r}, {good!r}])")
    assert (reply["status"], reply["type"]) == ("error", "batch")
    assert words in reply["message"]
    assert "image 0 (bad.tif): " in reply["message"]
    assert rec.layers["1. denoise"].stats().received == 1
    assert rec.sources[0].refused == 1
    assert words in rec.layers.log[-1].text
    assert sender(f"images([{good!r}])") == SUCCESS


def test_pickled_arrays_where_the_user_allows_them(pickling):
    rec, sender = pickling
    assert sender(f"pickled({PLANE!r}, metadata={at(site=3)!r})") == SUCCESS
    np.testing.assert_array_equal(np.asarray(rec.layers["OpenHCS"].data).squeeze(), PLANE)
    assert sender(f"pickled({PLANE!r}, 'object')")["status"] == "error"


def test_pickles_are_not_read_where_nobody_allowed_them(pair):
    rec, sender = pair
    assert "?pickle" in sender(f"pickled({PLANE!r})")["message"]
    assert not rec.layers


def test_no_pickle_is_ever_run(pickling, tmp_path):
    _, sender = pickling
    trap = tmp_path / "trap"
    for control in (True, False):
        reply = sender(f"evil({str(trap)!r}, control={control})")
        assert reply["status"] == "error"
        assert "open" in reply["message"]
    assert sender("control('ping')")["ready"]
    assert not trap.exists()


def test_junk_is_answered_and_the_sockets_live_on(pair):
    rec, sender = pair
    for frames in ("''", "'00'", "'80'", "'7b'", "'7b7d', '7b7d'", f"'{'5b' * 9999}'"):
        assert sender(f"raw({frames})")["status"] == "error"
        assert sender(f"raw_control({frames})")["status"] == "error"
    good = {"array": PLANE, "at": at()}
    assert sender(f"images([{good!r}])") == SUCCESS
    assert sender("control('ping')")["ready"]
    assert rec.sources[0].refused == 12


def test_a_viewer_that_stops_leaves_no_address_behind(receiver, monkeypatch, private_runtime):
    monkeypatch.setenv("HOME", private_runtime)
    folder = Path(private_runtime, ".openhcs", "ipc")
    rec = receiver("openhcs+ipc://5555?listen")
    assert {path.name for path in folder.iterdir()} == {
        "openhcs-zmq-5555.sock",
        "openhcs-zmq-6555.sock",
    }
    assert rec.urls == ("openhcs+ipc://5555",)
    rec.shut("openhcs+ipc://5555?listen")
    assert not list(folder.iterdir())
    rec.open("openhcs+ipc://5555?listen")
