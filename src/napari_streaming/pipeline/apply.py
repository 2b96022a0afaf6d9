"""Calls a step's function with items, and makes items of what it returns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from napari_streaming.errors import DataError, PipelineError
from napari_streaming.pipeline.items import Item
from napari_streaming.pipeline.plan import CompiledStep
from napari_streaming.pipeline.values import Points, Value, ValueKind, kind_of
from napari_streaming.wire.messages import Coordinate
from napari_streaming.wording import counted

__all__ = ["apply_step"]

_At = Mapping[str, Coordinate]
_WRITES = re.compile(r"(array|destination|buffer|memory\w*) (is|are) read-?only|read-?only memory")


@dataclass(frozen=True, slots=True, eq=False)
class _Bundle:
    """An argument of a call: one item, or several, stacked along leading axes."""

    at: _At
    value: Value
    along: Mapping[str, tuple[Coordinate, ...]]


def apply_step(step: CompiledStep, inputs: Sequence[Sequence[Item]]) -> list[Item]:
    """Return the items that a step makes of those of its inputs.

    Parameters
    ----------
    step : CompiledStep
    inputs : sequence of sequence of Item
        For each input of the step, all its items in one well.

    Returns
    -------
    list of Item

    Raises
    ------
    PipelineError
        The items do not fit the step, or what the function returned does not; the error
        says what to do. What the function itself raises comes out as it is.
    """
    arguments = [
        list(_stacked(_chosen(items, step, name), step, name))
        for name, items in zip(step.inputs, inputs, strict=True)
    ]
    made: list[Item] = []
    for group in _meetings(arguments, step):
        result = _call(step, group)
        at = {name: value for bundle in group for name, value in bundle.at.items()}
        leading = step.gives if step.gives is not None else _common_along(group)
        for here, value in _taken_apart(result, leading, given=step.gives is not None):
            made.append(Item({**at, **here}, _checked(value, step.stream.layer)))
    return made


# ---- what goes in ------------------------------------------------------------------------


def _chosen(items: Sequence[Item], step: CompiledStep, name: str) -> list[Item]:
    """Return the items that pass `where`; those without such a coordinate do."""
    chosen = [
        item
        for item in items
        if all(axis not in item.at or item.at[axis] in v for axis, v in step.where.items())
    ]
    if not chosen:
        there = [dict(item.at) for item in items[:3]]
        raise PipelineError(
            f"no item of {name!r} has {dict(step.where)}; there are {there or 'none at all'}"
        )
    return chosen


def _stacked(items: Sequence[Item], step: CompiledStep, name: str) -> Iterator[_Bundle]:
    """Stack items along those axes of `over` that they have."""
    over = [axis for axis in step.over if any(axis in item.at for item in items)]
    groups: dict[tuple[tuple[str, Coordinate], ...], list[Item]] = {}
    for item in items:
        rest = tuple((axis, value) for axis, value in item.at.items() if axis not in over)
        groups.setdefault(rest, []).append(item)
    for rest, members in groups.items():
        if over:
            yield _stack(dict(rest), members, over, name)
        else:
            yield from (_Bundle(item.at, item.value, {}) for item in members)


def _stack(at: _At, items: Sequence[Item], over: Sequence[str], name: str) -> _Bundle:
    along = {axis: _ordered(dict.fromkeys(item.at[axis] for item in items)) for axis in over}
    places = {tuple(item.at[axis] for axis in over): item.value for item in items}
    lengths = [len(values) for values in along.values()]
    if len(places) != len(items) or len(places) != prod(lengths):
        raise PipelineError(
            f"{counted(len(items), 'item')} of {name!r} at {dict(at)} cannot fill {lengths} along "
            f"{', '.join(over)}: each combination is needed once"
        )
    keys = [()]  # type: list[tuple[Coordinate, ...]]
    for values in along.values():
        keys = [(*key, value) for key in keys for value in values]
    arrays = [places[key] for key in keys]
    if any(isinstance(array, Points) for array in arrays):
        raise PipelineError(f"the Points of {name!r} cannot be stacked over {', '.join(over)}")
    shapes = {np.shape(array) for array in arrays}  # type: ignore[arg-type]
    if len(shapes) > 1:
        raise PipelineError(
            f"the items of {name!r} over {', '.join(over)} have different shapes: {shapes}"
        )
    whole = np.stack([np.asarray(array) for array in arrays])
    return _Bundle(at, whole.reshape(*lengths, *shapes.pop()), along)


def _ordered(values: Mapping[Coordinate, None]) -> tuple[Coordinate, ...]:
    """Return numbers by size, and names in the order in which they came."""
    if any(isinstance(value, str) for value in values):
        return tuple(values)
    return tuple(sorted(values))


def _meetings(
    arguments: Sequence[Sequence[_Bundle]], step: CompiledStep
) -> Iterator[tuple[_Bundle, ...]]:
    """Yield what meets: one bundle of each input, equal in all coordinates they share."""
    groups: list[tuple[_Bundle, ...]] = [(bundle,) for bundle in arguments[0]]
    for name, others in zip(step.inputs[1:], arguments[1:], strict=True):
        met: list[tuple[_Bundle, ...]] = []
        for group in groups:
            partners = [other for other in others if all(_agree(one, other) for one in group)]
            if not partners:
                raise PipelineError(
                    f"the item of {step.inputs[0]!r} at {dict(group[0].at)} meets none of "
                    f"{name!r}: choose with where=, or give up a coordinate with over= and gives="
                )
            met += [(*group, partner) for partner in partners]
        groups = met
    yield from groups


def _agree(one: _Bundle, other: _Bundle) -> bool:
    return all(one.at[name] == other.at[name] for name in one.at.keys() & other.at.keys())


def _common_along(group: Sequence[_Bundle]) -> Mapping[str, tuple[Coordinate, ...]]:
    """Return what the leading axes of all arguments are."""
    found: dict[str, tuple[Coordinate, ...]] = {}
    for bundle in group:
        for name, values in bundle.along.items():
            if found.setdefault(name, values) != values:
                raise PipelineError(
                    f"the inputs have different {name}: {found[name]} and {values}; choose "
                    "with where="
                )
    return found


# ---- the call ----------------------------------------------------------------------------


def _call(step: CompiledStep, group: Sequence[_Bundle]) -> Any:
    try:
        return step.function(*(_lent(bundle.value) for bundle in group))
    except (ValueError, TypeError) as error:
        if not _WRITES.search(str(error)):
            raise
        raise PipelineError(
            f"it writes to a read-only array ({error}); inputs are read-only, since other steps "
            "may need them too: copy before you change one, like plane = plane.copy()"
        ) from error


def _lent(value: Value) -> Value:
    """Return a value that its owner's cannot be changed through."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    return replace(value) if isinstance(value, Points) else value  # Points copy what they get


# ---- what comes out ----------------------------------------------------------------------


def _taken_apart(
    result: Any, leading: Mapping[str, Sequence[Coordinate]], *, given: bool
) -> Iterator[tuple[_At, Any]]:
    """Yield the parts of a result with what is known of them by its leading axes."""
    if not leading:
        yield {}, result
        return
    lengths = tuple(len(values) for values in leading.values())
    if isinstance(result, list | tuple) and len(lengths) == 1:
        shape: tuple[int, ...] = (len(result),)
    else:
        result = _as_array(result)
        shape = np.shape(result)[: len(lengths)] if isinstance(result, np.ndarray) else ()
    if shape != lengths:
        says = f"gives={ {n: list(v) for n, v in leading.items()} }" if given else "over="
        needed = " x ".join(map(str, lengths)) + (" item" if prod(lengths) == 1 else " items")
        raise PipelineError(
            f"it returned {_described(result)}, and {says} needs "
            f"{needed} along {', '.join(leading)}: return an array "
            "with these leading axes, or say gives={} if it makes one item of all"
        )
    for place in np.ndindex(*lengths):
        at = {name: values[i] for (name, values), i in zip(leading.items(), place, strict=True)}
        yield at, result[place[0]] if isinstance(result, list | tuple) else result[place]


def _checked(value: Any, said: ValueKind | None) -> Value:
    """Return a value that can be kept."""
    value = _as_array(value)
    if value is None:
        raise PipelineError("it returned None; end it with: return result")
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise PipelineError(
                f"it returned {_described(value)}: use bool, integers or floats, "
                "for example with .astype('float32')"
            )
        if value.ndim == 0:
            value = value.item()
        elif value.ndim == 1:
            raise PipelineError(
                f"it returned {_described(value)}: a plane has at least two axes, (y, x). "
                "Positions are Points(coordinates), numbers of several items need gives="
            )
        elif not value.size:
            raise PipelineError(f"it returned {_described(value)}, which has no pixels")
    try:
        kind_of(value, said)
    except DataError as error:
        raise PipelineError(f"it returned {_described(value)}: {error}") from None
    return value  # type: ignore[no-any-return]


def _as_array(value: Any) -> Any:
    """Return numpy's view of other libraries' arrays and numbers, and all else as it is."""
    return np.asarray(value) if hasattr(value, "__array__") else value


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, list | tuple):
        return counted(len(value), "value")
    return f"a {type(value).__name__}"
