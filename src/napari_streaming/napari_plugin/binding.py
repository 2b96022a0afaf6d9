"""Streamed layers → napari layers: one update a layer and tick, in place.

What the user changes stays changed: contrast, colormap, opacity, name, order, camera. Only
the data is ours, and the contrast limits as long as nobody has touched them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from napari.layers import Image, Layer

from napari_streaming.napari_plugin.geometry_layer import GeometryLayer
from napari_streaming.napari_plugin.layers import geometry, limits_of, make_layer
from napari_streaming.receive.batching import Batcher, BatchingPolicy
from napari_streaming.receive.catalog import Catalog, StreamedLayer

__all__ = ["LayerBinding"]

logger = logging.getLogger(__name__)

_THUMBNAIL_S = 1.0


@dataclass(slots=True)
class _Bound:
    """A napari layer of ours, and the data and contrast limits that we last gave it.

    Of points and the like the data is what keeps the layer up to date.
    """

    layer: Layer
    data: Any
    limits: tuple[float, float] | None = None
    removed: bool = False
    thumbnail_is_old: bool = False


class LayerBinding:
    """Keeps the layers of a viewer in step with a catalog. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    catalog : Catalog
    on_follow : callable
        Called with whether the viewer follows the newest item, when that changes.
    """

    def __init__(self, viewer: Any, catalog: Catalog, on_follow: Callable[[bool], None]) -> None:
        self._viewer, self._catalog, self._on_follow = viewer, catalog, on_follow
        self._bound: dict[str, _Bound] = {}
        self._batcher = Batcher(BatchingPolicy())
        self._thumbnails_at = 0.0
        self._follow = True
        self._moving = False
        self._layout = self._current_layout()
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.layers.events.inserted.connect(self._note_layout, position="last")
        viewer.layers.events.removed.connect(self._on_removed, position="last")

    def close(self) -> None:
        """Leave the viewer alone; its layers stay."""
        self._viewer.dims.events.current_step.disconnect(self._on_step)
        self._viewer.layers.events.inserted.disconnect(self._note_layout)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def shown(self) -> Iterator[tuple[StreamedLayer, Layer]]:
        """Return each streamed layer that the viewer has, with its napari layer."""
        for name, bound in self._bound.items():
            if not bound.removed:
                yield self._catalog[name], bound.layer

    @property
    def policy(self) -> BatchingPolicy:
        """How often layers are updated."""
        return self._batcher.policy

    def set_policy(self, policy: BatchingPolicy) -> None:
        """Update layers as often as this from now on."""
        self._batcher.set_policy(policy)

    @property
    def follow(self) -> bool:
        """Whether the sliders go to the newest item."""
        return self._follow

    def set_follow(self, follow: bool) -> None:
        """Follow the newest item from now on, or stop to."""
        if follow == self._follow:
            return
        self._follow = follow
        if follow:
            self._go_to_newest(list(self._catalog.values()))
        self._on_follow(follow)

    def tick(self) -> bool:
        """Bring the viewer up to date, as far as the batching policy has it.

        Returns
        -------
        bool
            Whether anything was to be done.
        """
        start = time.monotonic()
        for streamed in self._catalog.take_dirty():
            self._batcher.changed(streamed.name, start)
        changed = [self._catalog[name] for name in self._batcher.due(start)]
        self._refresh_thumbnails(start)
        if not changed:
            return False
        self._moving = True
        try:
            for streamed in changed:
                self._update(streamed)
            if self._follow:
                self._go_to_newest(changed[::-1])  # the newest has the last word
        finally:
            self._moving = False
            self._note_layout()
            end = time.monotonic()
            self._batcher.took(end - start, end)
        return True

    def _on_step(self) -> None:
        """Stop following when the user moves a slider, and show the tracks that belong there.

        napari moves them, too, while layers come, go or grow: then the layout has changed.
        """
        if not self._moving and self._layout == self._current_layout():
            self.set_follow(False)
        for bound in self._bound.values():
            if isinstance(bound.data, GeometryLayer) and bound.data.follow_sliders():
                self._note_layout()

    def _on_removed(self) -> None:
        """Let go of a layer that the user removed: it stays removed, and takes no memory."""
        self._note_layout()
        if self._moving:
            return
        for name, bound in self._bound.items():
            if not bound.removed and bound.layer not in self._viewer.layers:
                bound.removed, bound.data = True, None
                self._catalog[name].discard()

    def _note_layout(self) -> None:
        self._layout = self._current_layout()

    def _current_layout(self) -> tuple[int, tuple[int, ...]]:
        return len(self._viewer.layers), tuple(self._viewer.dims.nsteps)

    # ---- one layer -------------------------------------------------------------------

    def _update(self, streamed: StreamedLayer) -> None:
        bound = self._bound.get(streamed.name)
        received = streamed.counters.received  # first: more may come while we look
        if bound is None:
            if received:
                self._bound[streamed.name] = self._add(streamed)
        elif bound.removed:
            return
        elif isinstance(bound.data, GeometryLayer):
            bound.data.update()
            bound.layer = bound.data.layer
        else:
            self._update_planes(bound, streamed)
        streamed.counters.shown(received)

    def _add(self, streamed: StreamedLayer) -> _Bound:
        if not streamed.has_planes:
            shown = GeometryLayer(self._viewer, streamed)
            return _Bound(shown.layer, shown)
        data = streamed.data
        layer = self._viewer.add_layer(make_layer(streamed, data))
        given = tuple(layer.contrast_limits) if isinstance(layer, Image) else None
        return _Bound(layer, data, given)

    def _update_planes(self, bound: _Bound, streamed: StreamedLayer) -> None:
        layer, data = bound.layer, streamed.data
        if data.is_like(bound.data):
            # The view that the layer holds sees new planes by itself.
            layer.refresh(thumbnail=False, highlight=False, extent=False)
            bound.thumbnail_is_old = True
        else:
            new_axes = data.ndim != bound.data.ndim
            layer.data = bound.data = data
            if new_axes:
                for name, value in geometry(streamed).items():
                    setattr(layer, name, value)
        if isinstance(layer, Image) and bound.limits == tuple(layer.contrast_limits):
            self._widen(bound, streamed)

    def _refresh_thumbnails(self, now: float) -> None:
        """Redo thumbnails once a second: one costs more than the plane that it shows."""
        if now < self._thumbnails_at + _THUMBNAIL_S:
            return
        self._thumbnails_at = now
        for bound in self._bound.values():
            if bound.thumbnail_is_old and not bound.removed:
                bound.thumbnail_is_old = False
                bound.layer.refresh(data_displayed=False, highlight=False, extent=False)

    def _widen(self, bound: _Bound, streamed: StreamedLayer) -> None:
        """Follow the range of the data, until the user has set the limits."""
        limits = limits_of(streamed)
        if limits is not None and limits != bound.limits and not streamed.declare.rgb:
            low, high = bound.layer.contrast_limits_range
            bound.layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
            bound.layer.contrast_limits = limits
            bound.limits = tuple(bound.layer.contrast_limits)

    def _go_to_newest(self, changed: list[StreamedLayer]) -> None:
        """Move the sliders to the newest item of these layers."""
        was_moving, self._moving = self._moving, True
        try:
            dims = self._viewer.dims
            step = list(dims.current_step)
            for streamed in changed:
                newest = streamed.latest
                for back, name in enumerate(reversed(streamed.axes), 1):
                    axis = dims.ndim - back
                    if name in newest and axis >= 0 and axis in dims.not_displayed:
                        step[axis] = newest[name]
            dims.current_step = tuple(step)
        finally:
            self._moving = was_moving
