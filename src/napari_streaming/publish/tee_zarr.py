"""Zarr arrays and groups that stream what is written to them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from napari_streaming.errors import DataError
from napari_streaming.publish import selections
from napari_streaming.publish.outlet import (
    STREAMING_FAILED,
    Layout,
    Outlet,
    Publishes,
    TeeOptions,
    Written,
)
from napari_streaming.publish.zarr_layout import full_name, layout_of

__all__ = ["TeeArray", "TeeGroup", "ZarrTee", "tee_zarr"]


class ZarrTee:
    """What the nodes of one tee have in common.

    Parameters
    ----------
    publisher : Publisher
    options : TeeOptions
    root : str, optional
        Where the group is, if it is a whole group.
    """

    def __init__(self, publisher: Publishes, options: TeeOptions, root: str | None) -> None:
        self._publisher, self._options, self._root = publisher, options, root
        self._lock = threading.Lock()
        self._outlets: dict[str, Outlet | None] = {}

    def outlet(self, array: zarr.Array[Any]) -> Outlet | None:
        """Return where the writes of an array go; None: a lower resolution goes nowhere."""
        where = full_name(array)
        with self._lock:
            if where not in self._outlets:
                self._outlets[where] = self._make(array)
            return self._outlets[where]

    def _make(self, array: zarr.Array[Any]) -> Outlet | None:
        try:
            layout = layout_of(array, self._options, self._root)
        except STREAMING_FAILED as error:
            outlet = Outlet(self._publisher, Layout(array.name, ()), self._options)
            outlet.complain(str(error))
            return outlet
        return None if layout is None else Outlet(self._publisher, layout, self._options)

    def array(self, array: zarr.Array[Any]) -> TeeArray:
        """Return an array that is streamed."""
        return TeeArray(array._async_array, self)

    def created(self, array: zarr.Array[Any], data: Any = None) -> TeeArray:
        """Return an array that was made just now, and stream what it was made with."""
        with self._lock:
            self._outlets.pop(full_name(array), None)  # what was there before may be another one
        teed = self.array(array)
        if data is not None:
            teed.written(lambda _: selections.everything(array.shape, array.dtype, data))
        return teed

    def node(self, node: zarr.Array[Any] | zarr.Group) -> TeeArray | TeeGroup:
        """Return an array or group that is streamed."""
        if isinstance(node, zarr.Array):
            return self.array(node)
        return self.group(node)

    def group(self, group: zarr.Group) -> TeeGroup:
        """Return a group whose arrays are streamed."""
        return TeeGroup(group._async_group, self)


@dataclass(frozen=False, repr=False, eq=False)
class TeeArray(zarr.Array[Any]):
    """A zarr array that streams what is written to it, once it is written.

    Only its own methods do: not those of its ``async_array``. What is pickled, for another
    process, is the plain array.
    """

    _tee: ZarrTee

    def written(self, what: Written) -> None:
        """Stream what was written."""
        outlet = self._tee.outlet(self)
        if outlet is not None:
            outlet.write(self.shape, self.dtype, what, self.get_orthogonal_selection)

    def set_basic_selection(self, selection: Any, value: Any, **how: Any) -> None:
        """Write as zarr does, then stream."""
        super().set_basic_selection(selection, value, **how)
        self.written(lambda _: selections.product(selection, self.shape, self.dtype, value))

    def set_orthogonal_selection(self, selection: Any, value: Any, **how: Any) -> None:
        """Write as zarr does, then stream."""
        super().set_orthogonal_selection(selection, value, **how)
        self.written(lambda _: selections.product(selection, self.shape, self.dtype, value))

    def set_block_selection(self, selection: Any, value: Any, **how: Any) -> None:
        """Write as zarr does, then stream."""
        super().set_block_selection(selection, value, **how)
        sizes = self.shards or self.chunks
        self.written(lambda _: selections.blocks(selection, sizes, self.shape, self.dtype, value))

    def set_coordinate_selection(self, selection: Any, value: Any, **how: Any) -> None:
        """Write as zarr does, then stream the planes that it touched."""
        super().set_coordinate_selection(selection, value, **how)
        chosen = selection if isinstance(selection, tuple) else (selection,)
        self.written(lambda plane: selections.points(chosen, self.shape, plane))

    def set_mask_selection(self, mask: Any, value: Any, **how: Any) -> None:
        """Write as zarr does, then stream the planes that it touched."""
        super().set_mask_selection(mask, value, **how)
        self.written(lambda plane: selections.points(_elements(mask), self.shape, plane))

    def append(self, data: Any, axis: int = 0) -> tuple[int, ...]:
        """Append as zarr does, then stream."""
        shape = super().append(data, axis)
        length = np.shape(data)[axis]
        new = [slice(None)] * self.ndim
        new[axis] = slice(shape[axis] - length, shape[axis])
        self.written(lambda _: selections.product(tuple(new), shape, self.dtype, data))
        return shape

    def update_attributes(self, new_attributes: dict[str, Any]) -> TeeArray:
        """Do as zarr does."""
        return self._tee.array(zarr.Array(self._async_array).update_attributes(new_attributes))

    def with_config(self, config: Any) -> TeeArray:
        """Do as zarr does."""
        return self._tee.array(zarr.Array(self._async_array).with_config(config))

    def __reduce__(self) -> tuple[Any, ...]:
        return zarr.Array, (self._async_array,)


def _elements(mask: Any) -> tuple[np.ndarray, ...]:
    chosen = mask[0] if isinstance(mask, tuple) else mask
    return np.nonzero(np.asarray(chosen))


def _creating(name: str, *, writes: bool = False) -> Callable[..., TeeArray]:
    """Return a method of a group that makes an array, which is then streamed."""
    plain = getattr(zarr.Group, name)

    @functools.wraps(plain)
    def create(self: TeeGroup, *args: Any, **kwargs: Any) -> TeeArray:
        is_written = writes and kwargs.get("write_data", True)
        array = plain(self, *args, **kwargs)
        return self._tee.created(array, kwargs.get("data") if is_written else None)

    return create


@dataclass(frozen=True, repr=False, eq=False)
class TeeGroup(zarr.Group):
    """A zarr group that streams what is written to the arrays in it."""

    _tee: ZarrTee

    create = _creating("create", writes=True)
    create_array = _creating("create_array", writes=True)
    create_dataset = _creating("create_dataset", writes=True)
    array = _creating("array", writes=True)
    require_array = _creating("require_array")
    require_dataset = _creating("require_dataset")
    empty = _creating("empty")
    zeros = _creating("zeros")
    ones = _creating("ones")
    full = _creating("full")
    empty_like = _creating("empty_like")
    zeros_like = _creating("zeros_like")
    ones_like = _creating("ones_like")
    full_like = _creating("full_like")

    def __getitem__(self, path: str) -> Any:
        return self._tee.node(super().__getitem__(path))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        array = super().__getitem__(key)
        if isinstance(array, zarr.Array):
            self._tee.created(array, value)

    def create_group(self, name: str, **kwargs: Any) -> TeeGroup:
        """Do as zarr does."""
        return self._tee.group(super().create_group(name, **kwargs))

    def require_group(self, name: str, **kwargs: Any) -> TeeGroup:
        """Do as zarr does."""
        return self._tee.group(super().require_group(name, **kwargs))

    def require_groups(self, *names: str) -> tuple[zarr.Group, ...]:
        """Do as zarr does."""
        return tuple(self._tee.group(group) for group in super().require_groups(*names))

    def groups(self) -> Generator[tuple[str, zarr.Group], None]:
        """Do as zarr does."""
        for name, group in super().groups():
            yield name, self._tee.group(group)

    def arrays(self) -> Generator[tuple[str, zarr.Array[Any]], None]:
        """Do as zarr does."""
        for name, array in super().arrays():
            yield name, self._tee.array(array)

    def members(self, *args: Any, **kwargs: Any) -> tuple[tuple[str, Any], ...]:
        """Do as zarr does."""
        found = super().members(*args, **kwargs)
        return tuple((name, self._tee.node(node)) for name, node in found)

    def create_hierarchy(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Do as zarr does."""
        for name, node in super().create_hierarchy(*args, **kwargs):
            yield name, self._tee.node(node)

    def __reduce__(self) -> tuple[Any, ...]:
        return zarr.Group, (self._async_group,)


def tee_zarr(
    publisher: Publishes, target: object, options: TeeOptions
) -> TeeArray | TeeGroup | None:
    """Return an array or group that is streamed; None: the target is neither.

    Raises
    ------
    DataError
        The axes are not those of the array.
    """
    if isinstance(target, zarr.Array):
        if options.axes is not None and len(options.axes) != target.ndim:
            raise DataError(f"axes={options.axes}: the array's number of axes is {target.ndim}")
        return ZarrTee(publisher, options, None).array(target)
    if isinstance(target, zarr.Group):
        return ZarrTee(publisher, options, full_name(target)).group(target)
    return None
