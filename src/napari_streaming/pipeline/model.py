"""A pipeline as people describe it: steps, what of them is kept, and what is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_streaming.pipeline.values import ValueKind
from napari_streaming.pipeline.wells import WellFilter
from napari_streaming.wire.messages import Coordinate, QualityOfService

if TYPE_CHECKING:
    from napari_streaming.pipeline.plan import Plan

__all__ = ["Materialize", "Pipeline", "Step", "Stream"]


@dataclass(frozen=True, slots=True)
class Materialize:
    """Where a step's output is written.

    Parameters
    ----------
    folder : str
        Relative to the `root` of the run. Each step has a folder of its own in it.
    backend : {"disk", "zarr"}, optional
        OME-TIFF or OME-Zarr; by default as the pipeline says.
    overwrite : bool, optional
        Whether what is there already is replaced; by default as the pipeline says.
    """

    folder: str
    backend: str | None = None
    overwrite: bool | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """How a step's output is watched. What is None is inherited from the pipeline's.

    Parameters
    ----------
    url : str, optional
        The viewer's. Without any, nothing is streamed.
    enabled : bool, optional
        False switches it off.
    wells, skip_wells : str, int or sequence of these, optional
        Which wells are streamed, and which of them are not after all: see
        :func:`napari_streaming.pipeline.wells.select_wells`.
    layer : {"image", "labels", "points", "metric"}, optional
        By default what the values are; an array is an image.
    name : str, optional
        Of the layer; by default the step's.
    colormap, contrast_limits, scale, units, qos
        As for :meth:`napari_streaming.Publisher.image`.
    persistent : bool, optional
        Whether the viewer stays when the run is over; by default it does.
    workers : {"connect", "listen"}, optional
        Of a Dask cluster: whether each worker connects to the viewer, or listens, and this
        process leads the viewer there, because the viewer cannot be reached from the workers.
        By default they connect, unless the `url` is one to listen at.
    """

    url: str | None = None
    enabled: bool | None = None
    wells: WellFilter | None = None
    skip_wells: WellFilter | None = None
    layer: ValueKind | None = None
    name: str | None = None
    colormap: str | None = None
    contrast_limits: tuple[float, float] | None = None
    scale: Sequence[float] | None = None
    units: str | Sequence[str] | None = None
    qos: QualityOfService | None = None
    persistent: bool | None = None
    workers: Literal["connect", "listen"] | None = None

    def inherit(self, parent: Stream) -> Stream:
        """Return this with `parent`'s fields where this says nothing."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return Stream(**{n: getattr(parent, n) if v is None else v for n, v in said.items()})


@dataclass(frozen=True, slots=True)
class Step:
    """One function, and what becomes of its output.

    Parameters
    ----------
    name : str
        Names its output for other steps, its folder, and its layer.
    function : callable
        Called for each item: ``function(plane)``; with several inputs one argument for each.
        What it is given is read-only.
    inputs : sequence of str
        Names of steps, or ``"source"``; by default the step before. Items of several inputs
        meet where the coordinates that they have in common are equal.
    where : mapping of str to a coordinate or a sequence of them
        Only items with these coordinates; items without such a coordinate pass.
    over : sequence of str
        Coordinates along which items are stacked and given at once, as leading axes. The
        result has the same leading axes, unless `gives` says otherwise.
    gives : mapping of str to sequence of coordinates, optional
        What the leading axes of the result are, instead of `over`. ``{}``: there are none,
        it is one item.
    materialize : Materialize, optional
        A checkpoint.
    output : Materialize, optional
        A main output.
    stream : Stream, optional
        By default as the pipeline says.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[str] = ()
    where: Mapping[str, Coordinate | Sequence[Coordinate]] = field(default_factory=dict)
    over: Sequence[str] = ()
    gives: Mapping[str, Sequence[Coordinate]] | None = None
    materialize: Materialize | None = None
    output: Materialize | None = None
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps, run for each well.

    Parameters
    ----------
    steps : sequence of Step
        In the order in which they run.
    axes : sequence of str
        Names of the coordinates. The first is the unit of work.
    stream : Stream
        What the steps inherit, field by field.
    backend : {"disk", "zarr"}
        What :class:`Materialize` means if it names none.
    overwrite : bool
        Likewise. If False, what is there already is neither written nor streamed.

    Examples
    --------
    >>> pipeline = Pipeline(
    ...     [Step("blur", blur, output=Materialize("results"))],
    ...     axes=("well", "channel"),
    ...     stream=Stream(url="tcp://127.0.0.1:5555"),
    ... )
    >>> result = pipeline.compile({"A01": image}).run()
    """

    steps: Sequence[Step]
    axes: Sequence[str] = ("well",)
    stream: Stream = field(default_factory=Stream)
    backend: str = "disk"
    overwrite: bool = True

    def compile(
        self,
        source: Any,
        *,
        root: str | Path = ".",
        wells: WellFilter | None = None,
        title: str = "pipeline",
    ) -> Plan:
        """Resolve everything that can be known before the run, and check it.

        Parameters
        ----------
        source : Source, mapping, str or Path
            See :class:`napari_streaming.pipeline.Source`. Nothing of its pixels is read.
        root : str or Path
            The folder that all other folders are relative to.
        wells : str, int or sequence of these, optional
            Which wells to process; by default all.
        title : str
            What viewers call the run.

        Returns
        -------
        Plan

        Raises
        ------
        PipelineError
            It cannot run like this; the error names the step and the way out.
        URLError
            A viewer's URL cannot be used as given.
        DataError
            The source cannot be used.
        """
        from napari_streaming.pipeline.compile import compile_pipeline

        return compile_pipeline(self, source, root=Path(root), wells=wells, title=title)
