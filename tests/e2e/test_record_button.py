"""Recording from the dock, in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton

import napari_streaming as ns
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.stored_layers import stored_layers

pytestmark = pytest.mark.napari


@pytest.fixture
def button(dock):
    return next(b for b in dock.findChildren(QPushButton) if b.text() == "Record…")


@pytest.fixture
def choose(monkeypatch):
    def choose(path):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))

    choose("")
    return choose


def words(dock) -> str:
    return "\n".join(label.text() for label in dock.findChildren(QLabel))


def test_what_comes_is_recorded_until_the_button_is_up(dock, button, choose, tmp_path, until):
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        pub.image("live", np.zeros((8, 8), np.uint8), at={"t": 0})
        assert pub.flush(15)
        choose(tmp_path / "run.nstream")
        button.click()
        assert button.isChecked()
        for t in range(1, 6):
            pub.image("live", np.full((8, 8), t, np.uint8), at={"t": t})
        assert pub.flush(15)
        until(lambda: "run.nstream: 5 items" in words(dock))
        button.click()
        until(lambda: not button.isChecked())
        pub.image("live", np.full((8, 8), 6, np.uint8), at={"t": 6})
        assert pub.flush(15)
    dock.session.tape.close()
    layer = stored_layers(OpenRecording(tmp_path / "run.nstream"))["live"]
    assert layer.coordinates == {"t": [1, 2, 3, 4, 5]}


def test_no_file_no_recording(dock, button, choose):
    button.click()
    assert not button.isChecked()
    assert dock.session.tape is None


def test_what_cannot_be_written_is_said(dock, button, choose, tmp_path, until):
    (tmp_path / "run.nstream").write_text("mine")
    choose(tmp_path / "run.nstream")
    button.click()
    assert "exists already" in words(dock)
    assert not button.isChecked()
    assert (tmp_path / "run.nstream").read_text() == "mine"


def test_a_recording_ends_with_its_dock(viewer, dock, button, choose, tmp_path, until):
    choose(tmp_path / "run.nstream")
    button.click()
    tape = dock.session.tape
    dock.session.close()
    until(lambda: not tape.is_recording)
