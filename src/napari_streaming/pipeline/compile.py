"""From a pipeline as described to a plan: everything resolved, and all checked that can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np

from napari_streaming.errors import DataError, PipelineError, URLError
from napari_streaming.pipeline.items import Entry
from napari_streaming.pipeline.model import Materialize, Pipeline, Step, Stream
from napari_streaming.pipeline.paths import safe_name
from napari_streaming.pipeline.plan import CompiledStep, CompiledTarget, Plan
from napari_streaming.pipeline.rule import Role
from napari_streaming.pipeline.source import as_source, plain
from napari_streaming.pipeline.values import ValueKind
from napari_streaming.pipeline.wells import WellFilter, select_wells
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Coordinate

__all__ = ["SOURCE", "compile_pipeline"]

SOURCE = "source"
"""What steps call the source among their inputs."""

_BACKENDS = ("disk", "zarr")

Domain = Mapping[str, frozenset[Coordinate] | None]
"""The coordinates that items may have; None where only loading can tell."""


def compile_pipeline(
    pipeline: Pipeline, source: Any, *, root: Path, wells: WellFilter | None, title: str
) -> Plan:
    """Return the plan; parameters and errors as of ``Pipeline.compile``."""
    axes = tuple(pipeline.axes)
    if not axes or len(set(axes)) != len(axes) or not all(isinstance(a, str) and a for a in axes):
        raise PipelineError(f"axes={axes!r}: give different names, the unit of work first")
    if of_planes := [axis for axis in axes if axis in ("y", "x")]:
        raise PipelineError(f"axes={axes!r}: {of_planes[0]!r} is an axis of planes; leave it out")
    _check_flag("overwrite", pipeline.overwrite)
    if not isinstance(pipeline.stream, Stream):
        raise PipelineError(f"stream={pipeline.stream!r}: use Stream(...)")
    if not pipeline.steps:
        raise PipelineError("the pipeline has no steps")
    if wrong := [step for step in pipeline.steps if not isinstance(step, Step)]:
        raise PipelineError(f'{wrong[0]!r} is no step; use Step("denoise", denoise)')
    entries: dict[Coordinate, list[Entry]] = {}
    for entry in as_source(source).entries(axes):
        entries.setdefault(entry.at[axes[0]], []).append(entry)
    if not entries:
        raise PipelineError("the source is empty: it has no wells")
    everything = tuple(entries)
    with _blaming("compile(wells=...)"):
        chosen = everything if wells is None else select_wells(wells, everything)
    chosen = tuple(well for well in everything if well in chosen)
    _check_well_names(chosen)
    domains: dict[str, Domain] = {
        SOURCE: _domain([e for well in chosen for e in entries[well]], axes)
    }
    steps: list[CompiledStep] = []
    for step in pipeline.steps:
        with _blaming(f"step {step.name!r}"):
            before = steps[-1].name if steps else SOURCE
            compiled = _compile_step(pipeline, step, before, domains, chosen, everything)
            domains[step.name] = _output(compiled, [domains[name] for name in compiled.inputs])
        steps.append(compiled)
    _check_paths(steps)
    return Plan(
        title=title,
        axes=axes,
        root=root,
        wells=chosen,
        steps=tuple(steps),
        entries={well: tuple(entries[well]) for well in chosen},
    )


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Say whose fault it is."""
    try:
        yield
    except URLError as error:
        raise URLError(f"{what}: {error}") from None
    except (DataError, PipelineError) as error:
        raise PipelineError(f"{what}: {error}") from None


def _compile_step(
    pipeline: Pipeline,
    step: Step,
    before: str,
    domains: Mapping[str, Domain],
    wells: Sequence[Coordinate],
    known: Sequence[Coordinate],
) -> CompiledStep:
    if not step.name:
        raise PipelineError("a step needs a name")
    if step.name == SOURCE:
        raise PipelineError(f"{SOURCE!r} is what the source is called; choose another name")
    if step.name in domains:
        raise PipelineError("two steps have this name; each needs its own")
    if not callable(step.function):
        raise PipelineError(f"{step.function!r} is no function")
    inputs = _names("inputs", step.inputs) or (before,)
    if unknown := [name for name in inputs if name not in domains]:
        raise PipelineError(
            f"no step before it is called {unknown[0]!r}; there are {', '.join(domains)}"
        )
    given = [domains[name] for name in inputs]
    where = {name: _values("where", name, value) for name, value in step.where.items()}
    _check_where(where, given, pipeline.axes)
    if pipeline.axes[0] in where:
        raise PipelineError(
            f"where: every {pipeline.axes[0]} goes through every step; compile(source, wells=...) "
            "chooses some of them"
        )
    over = _names("over", step.over)
    _check_over(over, given, pipeline.axes)
    gives = None
    if step.gives is not None:
        gives = {name: _values("gives", name, value) for name, value in step.gives.items()}
        _check_gives(gives, over, given, pipeline.axes, step.gives)
    if not isinstance(step.stream, Stream | None):
        raise PipelineError(f"stream={step.stream!r}: use Stream(...)")
    stream = (step.stream or Stream()).inherit(pipeline.stream)
    _check_stream(stream)
    selected = set(wells)
    if stream.wells is not None:
        selected &= select_wells(stream.wells, wells, known=known)
    if stream.skip_wells is not None:
        selected -= select_wells(stream.skip_wells, wells, known=known)
    return CompiledStep(
        name=step.name,
        function=step.function,
        inputs=inputs,
        where=where,
        over=over,
        gives=gives,
        targets=tuple(_targets(pipeline, step)),
        stream=stream,
        selected=frozenset(selected),
    )


def _names(what: str, given: Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if len(set(names)) != len(names):
        raise PipelineError(f"{what}={names!r} names something twice")
    return names


def _values(what: str, axis: str, given: Any) -> tuple[Coordinate, ...]:
    """Return coordinates that are different; for `where` one alone is a list, too."""
    if isinstance(given, str | int | float | np.generic):
        if what == "gives":
            raise PipelineError(f"{what}: {axis!r} needs a list of coordinates: [{given!r}]")
        return (plain(given),)
    values = tuple(map(plain, given))
    if not values or len(set(values)) != len(values):
        raise PipelineError(f"{what}: {axis!r} needs different coordinates, not {values!r}")
    return values


# ---- coordinates -------------------------------------------------------------------------


def _domain(entries: Sequence[Entry], axes: Sequence[str]) -> Domain:
    found: dict[str, set[Coordinate]] = {}
    for entry in entries:
        for name, value in entry.at.items():
            found.setdefault(name, set()).add(value)
        for name, values in (entry.along or {}).items():
            found.setdefault(name, set()).update(values)
    known: dict[str, frozenset[Coordinate] | None] = {n: frozenset(v) for n, v in found.items()}
    if any(entry.along is None for entry in entries):
        known |= {name: None for name in axes if name not in known}
    return known


def _check_where(
    where: Mapping[str, Sequence[Coordinate]], given: Sequence[Domain], axes: Sequence[str]
) -> None:
    for name, values in where.items():
        _check_axis("where", name, axes, given)
        if any(name in domain and domain[name] is None for domain in given):
            continue
        there = {value for domain in given for value in domain.get(name) or ()}
        if missing := [value for value in values if value not in there]:
            raise PipelineError(
                f"where: no item has {name}={missing[0]!r}; there are "
                f"{', '.join(map(repr, sorted(there, key=str)[:16]))}"
            )


def _check_over(over: Sequence[str], given: Sequence[Domain], axes: Sequence[str]) -> None:
    for name in over:
        _check_axis("over", name, axes, given)
        if name == axes[0]:
            raise PipelineError(
                f"over: each {name} is processed for itself, so it cannot see all of them"
            )


def _check_gives(
    gives: Mapping[str, Sequence[Coordinate]],
    over: Sequence[str],
    given: Sequence[Domain],
    axes: Sequence[str],
    described: Mapping[str, Any],
) -> None:
    for name in gives:
        if name not in axes:
            raise PipelineError(
                f"gives: {name!r} is none of the pipeline's axes, {', '.join(axes)}; add it there"
            )
        if name == axes[0]:
            raise PipelineError(f"gives: {name!r} is the unit of work; a step cannot make others")
        if name not in over and any(domain.get(name) for domain in given):
            raise PipelineError(
                f"gives: items have a coordinate {name!r} already; put it in over=({name!r},), "
                f"or leave it out of gives={dict(described)}"
            )


def _check_axis(what: str, name: str, axes: Sequence[str], given: Sequence[Domain]) -> None:
    if name not in axes:
        raise PipelineError(f"{what}: {name!r} is none of the pipeline's axes, {', '.join(axes)}")
    if not any(name in domain for domain in given):
        there = sorted({axis for domain in given for axis in domain})
        raise PipelineError(f"{what}: no input has a coordinate {name!r}; they have {there}")


def _output(step: CompiledStep, given: Sequence[Domain]) -> Domain:
    """Return the coordinates that a step's output may have."""
    made: dict[str, frozenset[Coordinate] | None] = {}
    for domain in given:
        for name, values in domain.items():
            left = values
            if name in step.where:
                chosen = frozenset(step.where[name])
                left = chosen if values is None else values & chosen
            others = made.get(name)
            made[name] = left if others is None or left is None else left & others
    if step.gives is not None:
        made = {name: values for name, values in made.items() if name not in step.over}
        made |= {name: frozenset(values) for name, values in step.gives.items()}
    return made


# ---- streams and paths -------------------------------------------------------------------


def _check_stream(stream: Stream) -> None:
    if not isinstance(stream.url, str | None):
        raise PipelineError(f"url={stream.url!r}: use a text like tcp://127.0.0.1:5555")
    if stream.url:
        parse_url(stream.url)
    for what in ("enabled", "persistent"):
        _check_flag(what, getattr(stream, what))
    for what in ("name", "colormap"):
        if not isinstance(given := getattr(stream, what), str | None):
            raise PipelineError(f"{what}={given!r}: use a text")
    _check_choice("layer", stream.layer, get_args(ValueKind))
    _check_choice("qos", stream.qos, ("latest", "reliable"))
    _check_choice("workers", stream.workers, ("connect", "listen"))
    limits = stream.contrast_limits
    if limits is not None and not (len(_numbers(limits)) == 2 and limits[0] < limits[1]):
        raise PipelineError(f"contrast_limits={limits!r}: use two numbers, the lower one first")
    scale = stream.scale
    if scale is not None and not (len(_numbers(scale)) > 1 and min(scale) > 0):
        raise PipelineError(
            f"scale={scale!r}: use the size of a pixel along each axis of a plane, like (0.5, 0.5)"
        )


def _numbers(given: Any) -> tuple[float, ...]:
    """Return what somebody gave as numbers; nothing, if it is something else."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return ()
    numbers = tuple(given)
    return numbers if all(isinstance(n, Real) for n in numbers) else ()


def _check_flag(what: str, given: Any) -> None:
    if given is not None and not isinstance(given, bool):
        raise PipelineError(f"{what}={given!r}: use True or False")


def _check_choice(what: str, given: str | None, known: Sequence[str]) -> None:
    if given is not None and given not in known:
        raise PipelineError(f"{what}={given!r}: use one of {', '.join(known)}")


def _targets(pipeline: Pipeline, step: Step) -> Iterator[CompiledTarget]:
    places: list[tuple[Role, Materialize | None]] = [
        ("main output", step.output),
        ("checkpoint", step.materialize),
    ]
    for role, place in places:
        if place is None:
            continue
        if not isinstance(place, Materialize):
            raise PipelineError(f'{role}: {place!r}: use Materialize("results")')
        backend = place.backend or pipeline.backend
        if backend not in _BACKENDS:
            raise PipelineError(
                f"{role}: the backend {backend!r} does not materialise anything; use one of "
                f"{', '.join(_BACKENDS)}. Without Materialize an output stays in memory"
            )
        folder = PurePosixPath(place.folder)
        if folder.is_absolute() or ".." in folder.parts or "\\" in place.folder:
            raise PipelineError(
                f"{role}: the folder {place.folder!r} must be relative, with / and without ..; "
                "compile(source, root=...) says where it is"
            )
        _check_flag(f"{role}: overwrite", place.overwrite)
        overwrite = pipeline.overwrite if place.overwrite is None else place.overwrite
        yield CompiledTarget(role, str(folder / safe_name(step.name)), backend, overwrite)


def _check_paths(steps: Sequence[CompiledStep]) -> None:
    """Find outputs that would be written over each other, wherever upper case is lower case."""
    taken: dict[tuple[str, str], tuple[CompiledStep, CompiledTarget]] = {}
    for step in steps:
        for target in step.targets:
            key = (target.backend, target.folder.casefold())
            other, its = taken.setdefault(key, (step, target))
            if its is target:
                continue
            if other is step:
                raise PipelineError(
                    f"step {step.name!r}: its {its.role} and its {target.role} are both written "
                    f"to {target.folder}; give them different folders, or leave one out"
                )
            raise PipelineError(
                f"the steps {other.name!r} and {step.name!r} are both written to {its.folder}; "
                "rename one of them, or give it another folder"
            )


def _check_well_names(wells: Sequence[Coordinate]) -> None:
    taken: dict[str, Coordinate] = {}
    for well in wells:
        other = taken.setdefault(safe_name(str(well)).casefold(), well)
        if other is not well:
            raise PipelineError(
                f"the wells {other!r} and {well!r} would have the same file names; rename one"
            )
