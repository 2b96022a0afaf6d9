"""Opening files and commands: what a client may see of the server's disk, and what it gets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel

from napari_streaming.errors import DataError
from napari_streaming.remote.server import commands
from napari_streaming.remote.server.opening import open_paths
from napari_streaming.remote.server.scene import Scene
from napari_streaming.remote.server.zarr_layers import ChannelView, layers_of_zarr
from napari_streaming.wire.remote import Command, Reply


def axis(name: str, kind: str, **more: str) -> dict[str, str]:
    return {"name": name, "type": kind, **more}


def write_image(path: Path, *, labels: bool = False, omero: Any = None) -> Path:
    group = zarr.open_group(path, mode="w")
    rng = np.random.default_rng(0)
    for level in range(3):
        shape = (2, 4, 256 >> level, 128 >> level)
        chunks = (1, 1, 64, 64)
        array = group.create_array(str(level), shape=shape, chunks=chunks, dtype="uint16")
        array[:] = rng.integers(10, 1000, shape)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [multiscale(4, "czyx")],
        "omero": omero or {},
    }
    if labels:
        made = group.create_group("labels")
        made.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
        cells = made.create_group("cells")
        for level in range(3):
            shape = (4, 256 >> level, 128 >> level)
            cells.create_array(str(level), shape=shape, dtype="int32")
        about = {"multiscales": [multiscale(3, "zyx")], "image-label": {}}
        cells.attrs["ome"] = {"version": "0.5", **about}
    return path


def multiscale(ndim: int, names: str) -> dict[str, Any]:
    axes = [axis(n, "channel") if n == "c" else axis(n, "space", unit="micrometer") for n in names]
    return {
        "axes": axes,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, 2.0, 0.5 * 2**level, 0.5 * 2**level][-ndim:]}
                ],
            }
            for level in range(3)
        ],
    }


class Client:
    """Sends commands to a scene whose root is a folder."""

    def __init__(self, root: Path | None, **more: Any) -> None:
        self.viewer = ViewerModel()
        self.scene = Scene(self.viewer, root, **more)

    def __call__(self, name: Any, **arguments: Any) -> Reply:
        return self.scene.execute(Command(1, name, arguments))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a secret beside it, and links to that."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    tifffile.imwrite(
        folder / "deep" / "b.tif", np.zeros((3, 32, 32), np.uint8), photometric="minisblack"
    )
    (tmp_path / "secret").mkdir()
    tifffile.imwrite(tmp_path / "secret" / "s.tif", np.zeros((8, 8), np.uint8))
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "out.tif").symlink_to(tmp_path / "secret" / "s.tif")
    (folder / "in.tif").symlink_to(folder / "deep" / "b.tif")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / ".hidden").write_text("")
    return folder


def test_a_folder_is_listed_without_what_lies_outside(root: Path):
    client = Client(root)
    write_image(root / "a.zarr")
    size = (root / "deep" / "b.tif").stat().st_size
    assert client("list").values == {
        "path": "",
        "entries": [["deep", "folder", 0], ["a.zarr", "zarr", 0], ["in.tif", "file", size]],
        "more": False,
    }
    assert client("list", path="deep").values["entries"] == [["b.tif", "file", size]]


def test_a_large_folder_comes_in_parts(tmp_path: Path):
    for number in range(1005):
        (tmp_path / f"{number:04}.tif").touch()
    client = Client(tmp_path)
    first, second = client("list"), client("list", start=1000)
    assert (len(first.values["entries"]), first.values["more"]) == (1000, True)
    assert [entry[0] for entry in second.values["entries"]] == [
        f"{number}.tif" for number in range(1000, 1005)
    ]
    assert not second.values["more"]


@pytest.mark.parametrize("name", ["open", "list"])
@pytest.mark.parametrize(
    "path",
    ["..", "../secret", "../secret/s.tif", "out", "out/s.tif", "out.tif", "loop", "/etc", "/",
     "deep/../../secret", "no such", "a\0b", "~", "x" * 4000],
)  # fmt: skip
def test_nothing_outside_the_folder_is_opened_or_told_from_what_is_not(
    root: Path, name: str, path: str
):
    client = Client(root)
    arguments = {"paths": [path]} if name == "open" else {"path": path}
    reply = client(name, **arguments)
    assert "there is no such file in the folder" in reply.error
    assert str(root.parent) not in reply.error.replace(repr(path), "")
    assert not client.viewer.layers


def test_without_a_folder_nothing_is_opened():
    client = Client(None)
    assert "no folder" in client("open", paths=["/etc/passwd"]).error
    assert "no folder" in client("list").error


def test_opening_says_which_layers_came_and_why_others_did_not(root: Path):
    (root / "notes.txt").write_text("hello")
    (root / "broken.tif").write_bytes(b"II*\0broken")
    client = Client(root)
    assert client("open", paths=["deep/b.tif", "in.tif"]).values == {"layers": [1, 2]}
    for name in ("notes.txt", "broken.tif"):
        error = client("open", paths=[name]).error
        assert name in error
        assert str(root) not in error
    assert len(client.viewer.layers) == 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open", {}),
        ("open", {"paths": "a"}),
        ("list", {"path": 3}),
        ("list", {"path": "", "start": -1}),
        ("remove", {"layers": ["1"]}),
        ("remove", {"layers": [7]}),
        ("reorder", {"layers": [1]}),
        ("reorder", {"layers": [1, 1]}),
        ("screenshot", {"path": "/tmp/x"}),  # noqa: S108
        ("screenshot", {}),
        ("reset_view", {"force": True}),
    ],
)
def test_commands_that_make_no_sense_are_refused_and_change_nothing(
    root: Path, name: str, arguments: dict[str, Any]
):
    client = Client(root)
    client.viewer.add_image(np.zeros((4, 4)))
    client.viewer.add_image(np.zeros((4, 4)))
    before = client.scene.snapshot()
    assert client(name, **arguments).error
    assert client.scene.snapshot() == before


def test_a_screenshot_is_what_the_canvas_shows():
    picture = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    reply = Client(None, screenshot=lambda: picture)("screenshot")
    np.testing.assert_array_equal(imageio.imread(reply.data), picture)


def test_a_picture_that_no_reply_can_carry_is_refused(monkeypatch):
    monkeypatch.setattr(commands, "MAX_DATA", 100)
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), "u1")
    reply = Client(None, screenshot=lambda: noise)("screenshot")
    assert "more than can be sent" in reply.error and not reply.data


def test_an_ome_zarr_image_is_layers_by_channel_that_read_what_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    colours = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 0, "end": 900}},
        {"label": "GFP", "active": False},
    ]
    path = write_image(tmp_path / "x.ome.zarr", labels=True, omero={"channels": colours})
    read: list[int] = []
    original = ChannelView.__getitem__

    def count(self: ChannelView, key: Any) -> np.ndarray:
        values = original(self, key)
        read.append(values.size)
        return values

    monkeypatch.setattr(ChannelView, "__getitem__", count)
    viewer = ViewerModel()
    dapi, gfp, cells = open_paths(viewer, [path])
    assert max(read) <= 256 * 128, "never more than a plane, or a small level"
    assert (dapi.name, gfp.name, cells.name) == ("DAPI", "GFP", "cells")
    assert dapi.multiscale and cells.multiscale
    assert dapi.level_shapes.tolist() == [[4, 256, 128], [4, 128, 64], [4, 64, 32]]
    assert dapi.contrast_limits == [0, 900]
    assert 10 <= gfp.contrast_limits[0] < gfp.contrast_limits[1] < 1000
    assert (dapi.visible, gfp.visible) == (True, False)
    assert dapi.colormap.colors[-1].tolist() == [0, 0, 1, 1]
    assert dapi.scale.tolist() == [2.0, 0.5, 0.5]
    assert [str(unit) for unit in dapi.units] == ["micrometer"] * 3
    assert dapi.axis_labels == ("z", "y", "x")
    full = np.asarray(zarr.open_group(path)["0"][1])
    viewer.dims.set_current_step(0, 3)
    np.testing.assert_array_equal(np.asarray(gfp.data[0][3, 5:9]), full[3, 5:9])
    np.testing.assert_array_equal(np.asarray(gfp.data[0][..., 7]), full[..., 7])


def test_zarrs_without_metadata_and_without_images(tmp_path: Path):
    zarr.create_array(tmp_path / "plain.zarr", data=np.arange(12.0).reshape(3, 4))
    (layer,) = layers_of_zarr(tmp_path / "plain.zarr")
    assert (layer.name, layer.contrast_limits) == ("plain", [0, 11])
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    plate.attrs["ome"] = {"plate": {"wells": []}}
    missing = write_image(tmp_path / "missing.zarr")
    shutil.rmtree(missing / "2")
    viewer = ViewerModel()
    for name, why in [("empty", "no image"), ("plate", "a plate"), ("missing", "2"), ("no", "no")]:
        with pytest.raises(DataError, match=f"{name}.zarr.*{why}"):
            open_paths(viewer, [tmp_path / f"{name}.zarr"])
