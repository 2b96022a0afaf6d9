"""Recordings opened and saved in a real window, and the sample data."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

import napari_streaming as ns

pytestmark = pytest.mark.napari


@pytest.fixture
def recorded(tmp_path):
    """A recording of several kinds of layers, and what was put in."""
    random = np.random.default_rng(0)
    planes = {
        (well, t): random.integers(0, 4000, (48, 64), np.uint16)
        for well in ("A01", "B02")
        for t in (2, 0, 1)
    }
    with ns.Publisher(ns.Recording(tmp_path / "run.ome.zarr")) as pub:
        for (well, t), plane in planes.items():
            at = {"well": well, "t": t}
            pub.image(
                "nuclei",
                plane,
                at=at,
                scale=(0.5, 0.5),
                units="um",
                colormap="green",
                contrast_limits=(0, 3000),
            )
            pub.labels("cells", (plane > 2000).astype(np.int32), at=at, scale=(0.5, 0.5))
            pub.points("spots", [[t, t + 1]], at=at, features={"kind": [f"{well} {t}"]})
        pub.surface("skin", np.eye(3), [[0, 1, 2]])
    return tmp_path / "run.nstream", planes


def test_a_recording_opens_by_its_file(viewer, recorded, until):
    path, planes = recorded
    viewer.open(str(path), plugin="napari-streaming")
    assert {layer.name for layer in viewer.layers} == {"nuclei", "cells", "spots", "skin"}
    nuclei, cells = viewer.layers["nuclei"], viewer.layers["cells"]
    assert nuclei.axis_labels == ("well", "t", "y", "x")
    assert tuple(nuclei.scale) == (1, 1, 0.5, 0.5)
    assert [str(unit) for unit in nuclei.units][-2:] == ["micrometer", "micrometer"]
    assert (nuclei.colormap.name, nuclei.contrast_limits) == ("green", [0, 3000])
    assert nuclei.metadata["coordinates"] == {"well": ["A01", "B02"], "t": [0, 1, 2]}
    assert np.array_equal(np.asarray(nuclei.data[1, 2]), planes["B02", 2])
    assert isinstance(cells, Labels)
    assert np.array_equal(np.asarray(cells.data[0, 1]), planes["A01", 1] > 2000)
    assert sorted(viewer.layers["spots"].features["kind"]) == sorted(
        f"{well} {t}" for well, t in planes
    )
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(1, 2)
    at = (1, 2, 10 * 0.5, 20 * 0.5)
    until(lambda: nuclei.get_value(at, world=True) == planes["B02", 2][10, 20])


def test_only_our_reader_wants_it_and_no_folder(recorded):
    from npe2 import PluginManager

    path, _ = recorded
    manager = PluginManager.instance()
    wanted = [reader.command for reader in manager.iter_compatible_readers(str(path))]
    assert wanted == ["napari-streaming.read_recording"]
    of_folder = manager.iter_compatible_readers(str(path.parent))
    assert not [r for r in of_folder if r.command.startswith("napari-streaming")]


def test_a_recording_is_dropped_on_the_window(make_napari_viewer, recorded):
    path, _ = recorded
    viewer = make_napari_viewer(show=True)
    dropped = QMimeData()
    dropped.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(50, 50),
        Qt.DropAction.CopyAction,
        dropped,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    viewer.window._qt_viewer.dropEvent(event)
    assert "nuclei" in viewer.layers


def test_open_layers_are_saved_and_opened_again(viewer, tmp_path):
    random = np.random.default_rng(1)
    stack = random.random((3, 4, 20, 30)).astype(np.float32)
    rgb = random.integers(0, 255, (2, 20, 30, 3), np.uint8)
    viewer.add_image(
        stack, name="stack", axis_labels=("t", "z", "y", "x"), scale=(1, 3, 0.5, 0.5),
        units=("s", "um", "um", "um"), colormap="magenta", contrast_limits=(0.1, 0.9),
    )  # fmt: skip
    viewer.add_image(rgb, name="colour", rgb=True)
    viewer.add_labels(np.arange(600).reshape(20, 30), name="numbers")
    viewer.add_points([[0, 1, 2], [1, 3, 4]], name="points", features={"word": ["a", "bc"]})
    viewer.add_shapes(
        [random.random((4, 2)), random.random((6, 2))], shape_type=["rectangle", "polygon"],
        name="shapes",
    )  # fmt: skip
    viewer.add_vectors(random.random((4, 2, 2)), name="vectors")
    viewer.add_tracks(
        np.column_stack([np.ones(4), np.arange(4), random.random((4, 2))]), name="tracks"
    )
    viewer.add_surface((np.eye(3), np.array([[0, 1, 2]]), np.arange(3.0)), name="surface")
    before = {layer.name: layer for layer in viewer.layers}
    written = viewer.layers.save(str(tmp_path / "all.nstream"), plugin="napari-streaming")
    assert written == [str(tmp_path / "all.nstream"), str(tmp_path / "all.ome.zarr")]

    viewer.layers.clear()
    viewer.open(written[0], plugin="napari-streaming")
    after = {layer.name: layer for layer in viewer.layers}
    assert {n: layer.__class__ for n, layer in after.items()} == {
        n: layer.__class__ for n, layer in before.items()
    }
    assert np.array_equal(np.asarray(after["stack"].data), stack)
    assert tuple(after["stack"].scale) == (1, 3, 0.5, 0.5)
    assert after["stack"].colormap.name == "magenta"
    assert np.array_equal(np.asarray(after["colour"].data), rgb)
    # Beside a volume, planes stand at each of its z.
    assert (np.asarray(after["numbers"].data) == np.arange(600).reshape(20, 30)).all()
    assert list(after["points"].features["word"]) == ["a", "bc"]
    assert after["shapes"].shape_type == ["rectangle", "polygon"]
    for name in ("vectors", "tracks"):
        assert len(after[name].data) == 4
    assert np.array_equal(after["surface"].data[1], [[0, 1, 2]])


def test_nothing_is_written_over(viewer, recorded):
    path, _ = recorded
    viewer.add_image(np.zeros((8, 8)))
    with pytest.raises(Exception, match="exists already"):
        viewer.layers.save(str(path), plugin="napari-streaming")


def test_the_sample_comes_without_a_download(viewer, monkeypatch):
    import socket

    def no_network(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr(socket, "create_connection", no_network)
    viewer.open_sample("napari-streaming", "stained_wells")
    assert [layer.name for layer in viewer.layers] == [
        "tissue", "hematoxylin", "DAB", "nuclei", "centroids",
    ]  # fmt: skip
    assert viewer.layers["nuclei"].data.shape[0] == 6
    assert len(viewer.layers["centroids"].data) > 100
