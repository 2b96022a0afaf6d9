from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import as_array
from napari_streaming.wire.dialects.atoplace import Set, Translator, command
from napari_streaming.wire.messages import Metric, Progress, Running, Status

FRAME = {
    "index": 7,
    "iteration": 70,
    "phase": "force",
    "label": "now",
    "components": {"U1": [1.0, 2.0, 90.0], "R1": [3, 4]},
    "modules": {"U1": "power"},
    "forces": {"U1": [[0.5, 0.25, "net"]], "R1": [[float("nan"), 1, "net"]], "gone": [[1, 1]]},
    "energy": float("nan"),
    "overlap_count": 2,
}


def read(**said):
    return Translator().read(json.dumps(said), 5.0)


def arrays(one):
    pairs = zip(one.item.arrays, one.buffers, strict=True)
    return {array.name: as_array(array, buffer) for array, buffer in pairs}


def test_a_frame_is_points_vectors_and_metrics():
    progress, *told = read(type="frame", data=FRAME, timestamp=4.5)
    assert progress == Progress(70.0, text="force: now")
    energy, overlaps = (one for one in told if isinstance(one, Metric))
    assert (energy.name, energy.steps, energy.times) == ("energy", [7.0], [4.5])
    assert np.isnan(energy.values[0]) and overlaps.values == [2.0]
    points, vectors = (one for one in told if isinstance(one, Set))
    assert (points.declare.kind, points.item.at, points.item.time) == ("points", {"frame": 7}, 4.5)
    here = arrays(points)
    assert here["data"].tolist() == [[2.0, 1.0], [4.0, 3.0]]  # y before x
    assert here["features/ref"].tolist() == ["U1", "R1"]
    assert here["features/module"].tolist() == ["power", ""]
    assert here["features/rotation"].tolist() == [90.0, 0.0]
    assert (vectors.declare.name, vectors.declare.kind) == ("forces", "vectors")
    assert arrays(vectors)["data"].tolist() == [[[2.0, 1.0], [0.25, 0.5]]]


def test_the_items_of_a_layer_are_numbered():
    translator = Translator()
    text = json.dumps({"type": "frame", "data": FRAME})
    for number in range(3):
        told = [one for one in translator.read(text, 1.0) if isinstance(one, Set)]
        assert [one.item.sequence for one in told] == [number] * 2
        assert [one.declare.stream for one in told] == [0, 1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"type": "welcome", "fps": 10, "paused": True}, [Running("paused")]),
        ({"type": "welcome", "fps": 10, "paused": False}, [Running("running")]),
        (
            {"type": "control_state", "paused": True, "stop_requested": True},
            [Running("stopping")],
        ),
        (
            {"type": "status", "status": "complete", "message": "x"},
            [Status("complete", "x", 5.0)],
        ),
        ({"type": "status", "status": "odd", "message": "x"}, [Status("info", "x", 5.0)]),
        ({"type": "stats", "data": {"a": 1, "b": "?"}}, [Metric("server a", [5.0], [1.0], [5.0])]),
        ({"type": "pong"}, []),
    ],
)
def test_what_else_a_server_says(said, told):
    assert read(**said) == told


def test_commands_are_those_of_the_server():
    assert json.loads(command("pause")) == {"type": "pause"}
    assert json.loads(command("resume")) == {"type": "resume"}
    assert json.loads(command("stop")) == {"type": "stop"}
    assert command("step") is None


@pytest.mark.parametrize(
    "text",
    [
        b"\x00", "", "[]", "{}", "nonsense", '{"type": "other"}', "[" * 100_000,
        '{"type": "frame", "data": []}', '{"type": "frame", "data": {"components": {"a": [1]}}}',
        '{"type": "frame", "data": {"index": -1}}', '{"type": "frame", "timestamp": -1}',
        '{"type": "frame", "data": {"energy": "much"}}',
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(text):
    with pytest.raises(MalformedError):
        Translator().read(text, 5.0)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted(FRAME)) | st.text(max_size=3)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["frame", "stats", "status"]), st.dictionaries(NAMES, ANYTHING, max_size=4))
def test_whatever_stands_in_a_message_is_read_or_refused(kind, data):
    try:
        told = Translator().read(json.dumps({"type": kind, "data": FRAME | data}), 5.0)
    except MalformedError:
        return
    for one in told:
        if isinstance(one, Set):
            assert arrays(one)
