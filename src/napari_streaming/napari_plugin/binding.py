"""Streamed layers → napari layers: one update a layer and tick, in place.

What the user changes stays changed: contrast, colormap, opacity, name, order, camera. Only
the data is ours, and the contrast limits as long as nobody has touched them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from napari.layers import Image, Layer

from napari_streaming.napari_plugin.geometry_layer import GeometryLayer
from napari_streaming.napari_plugin.layers import geometry, limits_of, make_layer, position
from napari_streaming.napari_plugin.put_away import is_put_away
from napari_streaming.receive.batching import Batcher, BatchingPolicy
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.layer_view import At, LayerView
from napari_streaming.receive.placement import Fixed, Place
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.wording import counted

__all__ = ["LayerBinding"]

_THUMBNAIL_S = 1.0
_ADDING_S = 0.05  # for new layers of a stream, in one go
_MOST_LAYERS = 64


@dataclass(slots=True)
class _Bound:
    """A napari layer of ours, and the data and contrast limits that we last gave it.

    Of points and the like the data is what keeps the layer up to date.
    """

    view: LayerView
    layer: Layer
    data: Any
    limits: tuple[float, float] | None = None
    thumbnail_is_old: bool = False


class LayerBinding:
    """Keeps the layers of a viewer in step with a catalog. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    catalog : Catalog
    on_follow : callable
        Called with whether the viewer follows the newest item, when that changes.
    window : Fixed
        Which window of the placement this viewer is.
    """

    def __init__(
        self,
        viewer: Any,
        catalog: Catalog,
        on_follow: Callable[[bool], None],
        window: Fixed = (),
    ) -> None:
        self.window = window
        self._viewer, self._catalog, self._on_follow = viewer, catalog, on_follow
        self._bound: dict[tuple[str, Place], _Bound] = {}
        self._crowded: set[str] = set()  # streams with more layers than are shown, once said
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

    def shown(self) -> Iterator[tuple[LayerView, Layer]]:
        """Return each view that the viewer has, with its napari layer."""
        for bound in self._bound.values():
            yield bound.view, bound.layer

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
            self._go_to_newest([view for view, _ in self.shown()])
        self._on_follow(follow)

    def changed(self, layers: Iterable[StreamedLayer]) -> None:
        """Note that something came for these layers."""
        now = time.monotonic()
        for streamed in layers:
            self._batcher.changed(streamed.name, now)

    def tick(self) -> bool:
        """Bring the viewer up to date, as far as the batching policy has it.

        Returns
        -------
        bool
            Whether anything was to be done.
        """
        start = time.monotonic()
        due = [self._catalog[name] for name in self._batcher.due(start)]
        if not due:
            self._refresh_thumbnails(start)  # between updates, so that neither takes longer
            return False
        self._moving = True
        camera = self._viewer.scene.camera
        aim = (camera.zoom, camera.center, camera.angles) if self._viewer.layers else None
        try:
            updated = [view for streamed in due for view in self._update_stream(streamed)]
            if self._follow:
                self._go_to_newest(updated)
            self._move_planes()
            self._show_tracks()
            if aim is not None:  # napari takes a fresh look where an axis was added
                camera.zoom, camera.center, camera.angles = aim
        finally:
            self._moving = False
            self._note_layout()
            end = time.monotonic()
            self._batcher.took(end - start, end)
        return True

    # ---- what the user does ----------------------------------------------------------

    def _on_step(self) -> None:
        """Stop following when the user moves a slider.

        napari moves them, too, while layers come, go or grow: then the layout has changed.
        """
        if self._moving or self._layout != self._current_layout():
            return
        self.set_follow(False)
        self._moving = True
        try:
            self._move_planes()
            self._show_tracks()
        finally:
            self._moving = False
            self._note_layout()

    def _on_removed(self) -> None:
        """Let go of a layer that the user removed: it stays removed, and takes no memory."""
        self._note_layout()
        if self._moving:
            return
        for key, bound in list(self._bound.items()):
            if bound.layer not in self._viewer.layers and not is_put_away(bound.layer):
                del self._bound[key]
                bound.view.discard()

    def _note_layout(self) -> None:
        self._layout = self._current_layout()

    def _current_layout(self) -> tuple[int, tuple[int, ...]]:
        return len(self._viewer.layers), tuple(self._viewer.dims.nsteps)

    # ---- layers ----------------------------------------------------------------------

    def _update_stream(self, streamed: StreamedLayer) -> list[LayerView]:
        """Bring the layers of one stream up to date; return what they show."""
        received = streamed.counters.received  # first: more may come while we look
        if not received:
            return []
        views = [view for view in streamed.views() if view.place.window == self.window]
        self._remove_others(streamed.name, {view.place for view in views})
        end, waiting, left_out = time.monotonic() + _ADDING_S, False, streamed.places_left_out
        for view in views:
            is_new = (streamed.name, view.place) not in self._bound
            if is_new and len(self._bound) >= _MOST_LAYERS:
                left_out += 1
            elif is_new and time.monotonic() > end:
                waiting = True
            else:
                self._update(view)
        if waiting:  # napari takes long to add a layer: the user has a turn between two
            self._batcher.changed(streamed.name, time.monotonic())
        elif views:
            streamed.counters.shown(received)
        if left_out and streamed.name not in self._crowded:
            self._crowded.add(streamed.name)
            self._catalog.say(
                "warning", f"{streamed.name!r}: {counted(left_out, 'more layer')} not shown"
            )
        return [view for view in views if (streamed.name, view.place) in self._bound]

    def _remove_others(self, name: str, places: set[Place]) -> None:
        """Take away layers of a stream that are in none of these places any more."""
        for key, bound in list(self._bound.items()):
            if key[0] == name and key[1] not in places:
                del self._bound[key]
                self._viewer.layers.remove(bound.layer)

    def _update(self, view: LayerView) -> None:
        bound = self._bound.get((view.streamed.name, view.place))
        if bound is None:
            self._bound[view.streamed.name, view.place] = self._add(view)
        elif isinstance(bound.data, GeometryLayer):
            bound.data.update()
            bound.layer = bound.data.layer
        else:
            self._update_planes(bound, view)

    def _add(self, view: LayerView) -> _Bound:
        if not view.has_planes:
            kept = GeometryLayer(self._viewer, view)
            return _Bound(view, kept.layer, kept)
        data = view.data
        layer = self._viewer.add_layer(make_layer(view, data))
        given = tuple(layer.contrast_limits) if isinstance(layer, Image) else None
        return _Bound(view, layer, data, given)

    def _update_planes(self, bound: _Bound, view: LayerView) -> None:
        layer, data = bound.layer, view.data
        if data.is_like(bound.data):
            # The view that the layer holds sees new planes by itself.
            layer.refresh(thumbnail=False, highlight=False, extent=False)
            bound.thumbnail_is_old = True
        else:
            if data.ndim == bound.data.ndim:
                layer.data = bound.data = data
            else:
                visible, layer.visible = layer.visible, True  # else napari keeps the old extent
                layer.data = bound.data = data
                for name, value in geometry(view).items():
                    setattr(layer, name, value)
                layer.visible = visible
        if isinstance(layer, Image) and bound.limits == tuple(layer.contrast_limits):
            self._widen(bound, view)

    def _refresh_thumbnails(self, now: float) -> None:
        """Redo thumbnails once a second: one costs more than the plane that it shows."""
        if now < self._thumbnails_at + _THUMBNAIL_S:
            return
        self._thumbnails_at = now
        for bound in self._bound.values():
            if bound.thumbnail_is_old:
                bound.thumbnail_is_old = False
                bound.layer.refresh(data_displayed=False, highlight=False, extent=False)

    def _widen(self, bound: _Bound, view: LayerView) -> None:
        """Follow the range of the data, until the user has set the limits."""
        limits = limits_of(view)
        if limits is not None and limits != bound.limits and not view.declare.rgb:
            low, high = bound.layer.contrast_limits_range
            bound.layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
            bound.layer.contrast_limits = limits
            bound.limits = tuple(bound.layer.contrast_limits)

    # ---- positions -------------------------------------------------------------------

    def _go_to_newest(self, views: list[LayerView]) -> None:
        """Move the sliders to the newest item of these views."""
        was_moving, self._moving = self._moving, True
        try:
            dims = self._viewer.dims
            step = list(dims.current_step)
            for view in sorted(views, key=lambda view: view.published):  # the newest comes last
                newest = view.latest
                for axis, name in self._axes_of(view):
                    if name in newest and axis in dims.not_displayed:
                        step[axis] = newest[name]
            dims.current_step = tuple(step)
        finally:
            self._moving = was_moving

    def go_to(self, name: str, value: float) -> None:
        """Move the slider of a dimension to the number on it that is nearest, as a user would."""
        step = list(self._viewer.dims.current_step)
        for view, _ in self.shown():
            values = enumerate(view.coordinates.get(name, ()))
            near = [(abs(n - value), index) for index, n in values if not isinstance(n, str)]
            for axis in (axis for axis, own in self._axes_of(view) if own == name and near):
                step[axis] = min(near)[1]
        self._viewer.dims.current_step = tuple(step)

    def _move_planes(self) -> None:
        """Put each plane where its pixels lie: planes of one layer may lie apart."""
        for view, layer in self.shown():
            if not view.streamed.has_transforms or not view.has_planes:
                continue
            for what, numbers in position(view, view.transform_at(self.looked_at(view))).items():
                if tuple(getattr(layer, what)) != numbers:
                    setattr(layer, what, numbers)

    def looked_at(self, view: LayerView) -> At:
        """Return the coordinates where the sliders stand, of those that a view's items have."""
        step = self._viewer.dims.current_step
        at: At = {}
        for axis, name in self._axes_of(view):
            value = view.value_at(name, step[axis]) if name in view.own_axes else None
            if value is not None:
                at[name] = value
        return at

    def _show_tracks(self) -> None:
        """Show the tracks that belong to where the sliders stand: napari does not slice them."""
        for bound in self._bound.values():
            if isinstance(bound.data, GeometryLayer) and bound.data.follow_sliders():
                bound.layer = bound.data.layer

    def _axes_of(self, view: LayerView) -> Iterator[tuple[int, str]]:
        """Return the viewer's axis for each axis of a view: they end together."""
        for back, name in enumerate(reversed(view.axes), 1):
            axis = self._viewer.dims.ndim - back
            if axis >= 0:
                yield axis, name
