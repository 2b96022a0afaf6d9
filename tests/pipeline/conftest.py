"""A folder that is watched, a real receiver, and steps that other processes can import."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_streaming.pipeline.patterns import parse_pattern
from napari_streaming.pipeline.watch import WatchOptions, watch_folder
from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.receiver import Receiver

SETTLE = 0.1


class Watching:
    """A watch in a thread, and what a viewer sees of it."""

    def __init__(self, folder, url, viewer, **options):
        self.lines: list[str] = []
        self.stats = None
        self._viewer, self._stop = viewer, threading.Event()
        self._publisher = Publisher(url)
        if isinstance(options.get("pattern"), str):
            options["pattern"] = parse_pattern(options["pattern"])
        chosen = WatchOptions(**({"settle": SETTLE} | options))
        self._thread = threading.Thread(target=self._run, args=(folder, chosen))
        self._thread.start()

    def _run(self, folder, options):
        self.stats = watch_folder(
            folder, self._publisher, options, stop=self._stop, tell=self.lines.append
        )

    @property
    def layers(self):
        return self._viewer.layers

    def received(self, name):
        layer = self.layers.get(name)
        return layer.stats().received if layer else 0

    def plane(self, name, **at):
        """Return a plane, or None if it is not there."""
        layer = self.layers.get(name)
        if layer is None:
            return None
        key = []
        for axis, values in layer.coordinates.items():
            if at.get(axis) not in values:
                return None
            key.append(list(values).index(at[axis]))
        return np.asarray(layer.data[tuple(key)])

    def shows(self, name, value, **at):
        """Whether the first pixel of a plane has a value."""
        plane = self.plane(name, **at)
        return plane is not None and plane.flat[0] == value

    def said(self, text):
        return [line for line in self.lines if text in line]

    def end(self):
        """Stop; return the stats. Once is enough."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(15)
            with self._publisher:
                assert self._publisher.flush(15)
        return self.stats


@pytest.fixture
def steps(monkeypatch):
    """Steps that worker processes can import, too."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "importable")
    return importlib.import_module("pipeline_steps")


@pytest.fixture
def viewer():
    with Receiver("memory://watched?listen") as receiver:
        yield receiver


@pytest.fixture
def watching(tmp_path, viewer):
    """Start watches; the folder is watched from the first call's return on, or a bit later."""
    made = []

    def start(folder=None, **options):
        made.append(Watching(folder or tmp_path, "memory://watched", viewer, **options))
        return made[-1]

    yield start
    for one in made:
        one.end()
