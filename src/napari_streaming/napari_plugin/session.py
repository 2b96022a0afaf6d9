"""A receiver bound to a viewer: what the dock widget shows and drives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.napari_plugin.home_key import HomeKey
from napari_streaming.napari_plugin.overlay import DimensionOverlay
from napari_streaming.napari_plugin.study import Study
from napari_streaming.napari_plugin.value_window import ValueWindow, title_of
from napari_streaming.receive.batching import BatchingPolicy
from napari_streaming.receive.catalog import StreamedLayer
from napari_streaming.receive.placement import Fixed, Mode
from napari_streaming.receive.receiver import Receiver
from napari_streaming.record.recording import start_tape
from napari_streaming.record.tape import Tape
from napari_streaming.wire.messages import Coordinate

__all__ = ["ReceiverSession", "warm_up"]

_MOST_WINDOWS = 12


class ReceiverSession:
    """Owns a receiver and the layers it makes in a viewer. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel

    Attributes
    ----------
    receiver : Receiver
    overlay : DimensionOverlay
        The words on the canvas.
    tape : Tape or None
        What records, or recorded last.
    follow_changed : Signal(bool)
        Whether the viewer follows the newest item.
    """

    follow_changed = Signal(bool)

    def __init__(self, viewer: Any) -> None:
        self.receiver = Receiver()
        self.tape: Tape | None = None
        self._binding = LayerBinding(viewer, self.receiver.layers, self._on_follow)
        self._study = Study(self.receiver.want)
        self.overlay = DimensionOverlay(viewer, self._binding)
        self._windows: dict[Fixed, ValueWindow | None] = {}  # None: the user closed it
        self._home_key = HomeKey(viewer, self._go_live)
        self._said_follow, self._is_setting_follow = True, False

    def tick(self) -> None:
        """Bring the viewer, and the windows of single values, up to date."""
        changed = self.receiver.layers.take_dirty()
        self._binding.changed(changed)
        if self._binding.tick():
            self.overlay.update()
        self._tick_windows(changed)
        self._study.look([self._binding, *(window.binding for window in self._open_windows())])

    def _tick_windows(self, changed: list[StreamedLayer]) -> None:
        wanted = {view.place.window: None for layer in changed for view in layer.views()}
        for fixed in filter(None, wanted):
            if fixed not in self._windows:
                self._open_window(fixed)
        for fixed, window in list(self._windows.items()):
            if window is None:
                continue
            if not window.is_open or not self._is_placed(fixed):
                window.close()
                self._windows[fixed] = None
                continue
            window.binding.changed(changed)
            window.tick()

    def _open_windows(self) -> list[ValueWindow]:
        return [window for window in self._windows.values() if window is not None]

    def _open_window(self, fixed: Fixed) -> None:
        layers = self.receiver.layers
        if len(self._open_windows()) >= _MOST_WINDOWS:
            self._windows[fixed] = None
            layers.say("warning", f"{_MOST_WINDOWS} windows are open: none for {title_of(fixed)}")
            return
        window = ValueWindow(layers, fixed, self._on_follow, self._go_live)
        self._windows[fixed] = window
        window.binding.set_follow(self._binding.follow)
        window.binding.set_policy(self.policy)
        window.overlay.set_enabled(self.overlay.enabled)
        window.binding.changed(layers.values())

    def _is_placed(self, fixed: Fixed) -> bool:
        """Whether the placement still has windows of this kind."""
        return all(self.receiver.layers.mode(name) == "window" for name, _ in fixed)

    def set_mode(self, dimension: str, mode: Mode) -> None:
        """Make a dimension an axis, layers, windows, or its latest value only."""
        self._windows = {
            fixed: window
            for fixed, window in self._windows.items()
            if window is not None or dimension not in dict(fixed)
        }
        self.receiver.layers.set_mode(dimension, mode)

    def set_words(self, enabled: bool) -> None:
        """Show the words on the canvas, or take them away."""
        self.overlay.set_enabled(enabled)
        for window in self._open_windows():
            window.overlay.set_enabled(enabled)

    @property
    def sliders(self) -> dict[str, Coordinate]:
        """Where the sliders of the main viewer stand."""
        return self.overlay.sliders()

    def go_to(self, name: str, value: float) -> None:
        """Move a slider of the main viewer to the number that is nearest."""
        self._binding.go_to(name, value)

    @property
    def follow(self) -> bool:
        """Whether the viewer, and every window, follows the newest item."""
        every = (self._binding, *(window.binding for window in self._open_windows()))
        return all(binding.follow for binding in every)

    def set_follow(self, follow: bool) -> None:
        """Follow the newest item from now on, or stop to."""
        self._is_setting_follow = True
        try:
            self._binding.set_follow(follow)
            for window in self._open_windows():
                window.binding.set_follow(follow)
        finally:
            self._is_setting_follow = False
        self._on_follow()

    def _on_follow(self, _follow: bool = False) -> None:
        if not self._is_setting_follow and self.follow != self._said_follow:
            self._said_follow = self.follow
            self.follow_changed.emit(self.follow)

    def _go_live(self) -> None:
        self.set_follow(True)

    def begin_recording(self, path: Path) -> None:
        """Record all that comes from now on.

        Raises
        ------
        DataError, StorageError
            It cannot be written there.
        """
        self.end_recording()
        layers = self.receiver.layers
        self.tape = start_tape(path, waits=False, tell=lambda text: layers.say("error", text))
        layers.taps.add(self.tape)
        layers.say("info", f"recording to {self.tape.index}")

    def end_recording(self) -> None:
        """Record no more; what has come is written by a thread."""
        if self.tape is not None and self.tape.is_recording:
            self.receiver.layers.taps.remove(self.tape)
            self.tape.close(timeout=0)

    @property
    def policy(self) -> BatchingPolicy:
        """How often layers are updated."""
        return self._binding.policy

    def set_policy(self, policy: BatchingPolicy) -> None:
        """Update layers as often as this from now on."""
        self._binding.set_policy(policy)
        for window in self._open_windows():
            window.binding.set_policy(policy)

    def close(self) -> None:
        """Disconnect; the layers stay."""
        for window in self._open_windows():
            window.close()
        self._home_key.close()
        self.overlay.close()
        self._binding.close()
        self.receiver.close()
        self.end_recording()


def warm_up(viewer: Any) -> None:
    """Pay for napari's first image now: a second that the first plane would wait for.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Left alone if it shows layers already: then it is warm.
    """
    import numpy as np

    if viewer.layers:
        return
    overlay = viewer.canvas.overlays.text
    was_visible, text = overlay.visible, overlay.text
    layer = viewer.add_image(np.zeros((2, 8, 8), np.uint16), name="napari-streaming")
    overlay.text, overlay.visible = "T 0", True
    viewer.screenshot(canvas_only=True, flash=False)  # the shaders and the font, too
    viewer.layers.remove(layer)
    # Not empty: vispy crashes the process if it draws words that were taken away.
    overlay.visible, overlay.text = was_visible, text or " "
