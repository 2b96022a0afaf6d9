"""An item of a recording as a call of the publisher that once made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_streaming.publish.publisher import Publisher
from napari_streaming.wire.messages import FEATURE_PREFIX, SHAPE_TYPES, Declare, Item

__all__ = ["republish"]

_TYPES = list(SHAPE_TYPES)


def republish(
    publisher: Publisher, declare: Declare, item: Item, arrays: Mapping[str, np.ndarray]
) -> None:
    """Publish an item again.

    Parameters
    ----------
    publisher : Publisher
    declare : Declare
        Of its stream.
    item : Item
    arrays : mapping of str to ndarray
        Its arrays by name.
    """
    about: dict[str, Any] = {
        "axes": declare.axes,
        "scale": item.scale or declare.scale,
        "translate": item.translate or declare.translate,
        "units": declare.units,
        "qos": declare.qos,
    }
    data = arrays["data"]
    if declare.kind in ("image", "labels"):
        along = {name: list(values) for name, values in item.along.items()}
        about |= {"at": item.at | along, "offset": item.offset}
        about["plane_shape"] = declare.shape if item.offset else ()
        if declare.kind == "labels":
            publisher.labels(declare.name, data, **about)
            return
        publisher.image(
            declare.name,
            data,
            rgb=declare.rgb,
            colormap=declare.colormap,
            contrast_limits=declare.contrast_limits,
            **about,
        )
        return
    about |= {"at": item.at, "key": item.key, "append": item.append}
    if declare.kind == "surface":
        publisher.surface(declare.name, data, arrays["faces"], arrays.get("values"), **about)
        return
    about["features"] = {name: arrays[FEATURE_PREFIX + name] for name in declare.features}
    if declare.kind == "points":
        publisher.points(declare.name, data, **about)
    elif declare.kind == "vectors":
        publisher.vectors(declare.name, data, **about)
    elif declare.kind == "tracks":
        publisher.tracks(declare.name, data, graph=_graph(arrays.get("graph")), **about)
    else:
        types = [_TYPES[number] for number in arrays["types"]]
        shapes = np.split(data, arrays["offsets"][1:-1]) if types else []
        publisher.shapes(declare.name, shapes, shape_type=types or "polygon", **about)


def _graph(rows: np.ndarray | None) -> dict[int, list[int]]:
    graph: dict[int, list[int]] = {}
    for child, parent in [] if rows is None else rows.tolist():
        graph.setdefault(child, []).append(parent)
    return graph
