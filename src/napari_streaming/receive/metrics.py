"""The values of each metric: columns that grow, of which the last million stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_streaming.wire.messages import Metric

__all__ = ["MetricSeries", "Metrics"]

_LIMIT = 1_000_000
_FIRST = 256
_MAX_SERIES = 4096


class MetricSeries:
    """The values of one quantity, in order of arrival; beyond `limit` the oldest go.

    Reading is safe while another thread appends: what was read stays as it was.

    Parameters
    ----------
    run : str
        The run that they are of.
    limit : int
        How many stay.
    """

    def __init__(self, run: str = "", limit: int = _LIMIT) -> None:
        self.run = run
        self._limit = limit
        # One attribute for both, so that a reader never sees an array with another's bounds.
        self._held = (np.empty((3, _FIRST)), 0, 0)

    def __len__(self) -> int:
        _, first, end = self._held
        return end - first

    @property
    def steps(self) -> NDArray[np.float64]:
        """Where on the axis of their graph; read-only."""
        return self._row(0)

    @property
    def values(self) -> NDArray[np.float64]:
        """The values; read-only."""
        return self._row(1)

    @property
    def times(self) -> NDArray[np.float64]:
        """When they were published, in seconds since the epoch; read-only."""
        return self._row(2)

    def _row(self, row: int) -> NDArray[np.float64]:
        columns, first, end = self._held
        view = columns[row, first:end]
        view.flags.writeable = False
        return view

    def extend(
        self, steps: Sequence[float], values: Sequence[float], times: Sequence[float]
    ) -> None:
        """Append values; only one thread at a time."""
        columns, first, end = self._held
        count = len(values)
        if end + count > columns.shape[1]:  # into a new array: somebody may read the old one
            kept = max(0, min(end - first, self._limit - count))
            grown = np.empty((3, max(_FIRST, 2 * (kept + count))))
            grown[:, :kept] = columns[:, end - kept : end]
            columns, first, end = grown, 0, kept
        columns[:, end : end + count] = steps, values, times
        end += count
        self._held = (columns, max(first, end - self._limit), end)


class Metrics(Mapping[str, MetricSeries]):
    """All metrics by name. The owner guards changes with a lock.

    Those of two runs that are there at the same time stay apart, as do those of a new run if it
    is to open beside the last one: the second is called ``energy [2]``.
    """

    def __init__(self) -> None:
        self._series: dict[str, MetricSeries] = {}

    def __getitem__(self, name: str) -> MetricSeries:
        return self._series[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._series))

    def __len__(self) -> int:
        return len(self._series)

    def add(self, metric: Metric, run: str, *, running: Mapping[str, int], new_run: str) -> None:
        """Append values.

        Parameters
        ----------
        metric : Metric
        run : str
            Who sent them.
        running : mapping of str to int
            How many connections each run has.
        new_run : {"continue", "replace", "beside"}
            What a new run does to the values of one that is over.
        """
        number, name = 1, metric.name
        while (series := self._series.get(name)) is not None and series.run != run:
            if new_run != "beside" and not running.get(series.run):
                if new_run == "replace":
                    series = None
                else:
                    series.run = run
                break
            number += 1
            name = f"{metric.name} [{number}]"
        if series is None:
            if len(self._series) >= _MAX_SERIES and name not in self._series:
                return  # names without end are a mistake, or worse
            series = self._series[name] = MetricSeries(run)
        series.extend(metric.steps, metric.values, metric.times)
