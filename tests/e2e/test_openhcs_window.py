"""What an OpenHCS sender shows, in napari."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QPushButton

from napari_streaming.errors import URLError
from napari_streaming.widgets.placement import PlacementForm

pytestmark = pytest.mark.napari
SENDERS = str(Path(__file__).parents[1] / "integration")


@pytest.fixture
def idle_dock(viewer, monkeypatch, private_runtime):
    monkeypatch.setenv("HOME", private_runtime)
    _, widget = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    yield widget
    widget.session.close()


def test_an_address_typed_and_what_comes_there(viewer, idle_dock, remote, until):
    address = idle_dock.findChild(QLineEdit)
    address.setText("openhcs+ipc://5555?pickle")
    next(b for b in idle_dock.findChildren(QPushButton) if b.text() == "Listen").click()
    assert address.text() == "openhcs+ipc://5555?pickle"
    assert any("listening to OpenHCS" in label.text() for label in idle_dock.findChildren(QLabel))
    sender = remote()
    sender(f"import sys; sys.path.insert(0, {SENDERS!r})")
    sender("from openhcs_sender import Sender; s = Sender(5555, 'ipc')")
    at = {"site": 1, "channel": 1, "z_index": 1, "timepoint": 1, "well": "A01"}
    images = [{"array": [[c, 2], [3, 4]], "at": at | {"channel": c}} for c in (1, 2)]
    polygon = {"type": "polygon", "coordinates": [[0, 0], [0, 1], [1, 1]], "metadata": {"label": 1}}
    names = {"channel": {"1": "DAPI"}}
    told = f"modes={{'channel': 'layer'}}, sizes='pad_to_max', names={names!r}"
    assert sender(f"s.images({images!r}, {told})")["status"] == "success"
    assert sender(f"s.shapes([{polygon!r}], {at!r}, {told})")["status"] == "success"
    until(lambda: len(viewer.layers) == 3)
    shown = {layer.name: layer for layer in viewer.layers}
    assert set(shown) == {"1. denoise · 1: DAPI", "1. denoise · 2", "1. denoise ROIs · 1: DAPI"}
    image = shown["1. denoise · 2"]
    assert np.asarray(image.data).squeeze().tolist() == [[2, 2], [3, 4]]
    assert image.colormap.name == "gray"
    form = idle_dock.findChild(PlacementForm)
    until(lambda: form.findChild(QComboBox, "channel") is not None)
    assert form.findChild(QComboBox, "channel").currentText() == "layers"
    assert form.findChild(QComboBox, "site").currentText() == "slider"
    assert "pad with zeros" in [box.currentText() for box in form.findChildren(QComboBox)]


def test_one_cannot_connect_to_openhcs(idle_dock):
    with pytest.raises(URLError, match="press Listen"):
        idle_dock.open("openhcs+tcp://127.0.0.1:5555")
