"""The metrics and status lines of a publisher, kept once for all viewers.

Each value and each line has a number; a viewer only has a bookmark. One that comes late, or
comes back, reads on from where its bookmark is put. Of each metric the last values are kept
as they are, those before them ever further apart, so that a run may go on for ever.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from napari_streaming.wire.codec import last_number
from napari_streaming.wire.messages import Metric, Status, Subscribe

__all__ = ["Bookmark", "Journal"]

_ROOM = 2**19  # values of all metrics, times three at the most: see _Series
_MOST_VALUES = 2**15
_MOST_SERIES = 4096  # as many as viewers take: names without end are a mistake
_MOST_GATHERED = 4096  # values of a metric that no viewer has read yet
_MOST_LINES = 65536
_MOST_TEXT = 2**22  # characters of all lines
_LINES_FOR_NEWCOMERS = 1000
_VALUES_AT_ONCE = 65536


class _Series:
    """The values of one metric, numbered from 1.

    Between `limit` and twice as many of the last ones stay as they are. Of those before them
    each `every`-th one stays, the first one among them; there are at most `limit`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.changed = 0  # version of the journal
        self._every = 1
        self._thinned = _columns()
        self._last = _columns()

    def extend(self, fresh: list[float], limit: int) -> None:
        """Append values: step, value and time in turn."""
        for index, column in enumerate(self._last):
            column.extend(fresh[index::3])
        self.count += len(fresh) // 3
        if len(self._last[0]) > 2 * limit:
            self._thin(len(self._last[0]) - limit, limit)

    def _thin(self, count: int, limit: int) -> None:
        """Keep only some of the first ones of the last values."""
        before = self.count - len(self._last[0])
        skipped = -before % self._every
        for thinned, last in zip(self._thinned, self._last, strict=True):
            thinned.extend(last[skipped : count : self._every])
            del last[:count]
        while len(self._thinned[0]) > limit:
            self._thinned = [column[::2] for column in self._thinned]
            self._every *= 2

    def after(self, name: str, number: int) -> Iterator[Metric]:
        """Return what is kept of the values after a number."""
        before = self.count - len(self._last[0])
        ahead = max(0, -(-number // self._every))
        if ahead < len(self._thinned[0]):
            steps, values, times = (column[ahead:].tolist() for column in self._thinned)
            first = 1 + ahead * self._every
            yield Metric(name, steps, values, times, first, self._every)
        ahead = max(0, number - before)
        if ahead < len(self._last[0]):
            steps, values, times = (column[ahead:].tolist() for column in self._last)
            yield Metric(name, steps, values, times, 1 + before + ahead)


def _columns() -> list[array[float]]:
    return [array("d") for _ in range(3)]


@dataclass(slots=True)
class Bookmark:
    """How far a viewer has read. Its owner guards it with a lock.

    Parameters
    ----------
    version : int
        Of the journal when it was read.
    line : int
        The number of the last line that was read.
    values : dict of str to int
        The number of the last value of each metric that was read.
    """

    version: int
    line: int
    values: dict[str, int] = field(default_factory=dict)

    def go_back(self, unread: Iterable[Metric | Status]) -> None:
        """Put it before what was read and has not arrived: the first of it, first."""
        for message in reversed(list(unread)):
            self.version = -1
            if isinstance(message, Status):
                self.line = message.number - 1
            else:
                self.values[message.name] = message.first - 1


class Journal:
    """What was said so far. Thread-safe; who adds to it does not wait for who reads."""

    def __init__(self) -> None:
        self._adding = threading.Lock()  # only ever for a moment
        self._gathered: dict[str, list[float]] = {}
        self._reading = threading.Lock()  # taken before the other one
        self._series: dict[str, _Series] = {}
        self._lines: deque[Status] = deque()
        self._last_line = self._text = 0
        self._version = 0

    # ---- the producer's side ---------------------------------------------------------

    def add(self, name: str, step: float, value: float, time: float) -> bool:
        """Append a value of a metric; return whether the sinks must be woken for it.

        They need not be where others wait already: who added the first of them wakes them, and
        they take all of them at once.
        """
        with self._adding:
            is_first = not self._gathered
            values = self._gathered.get(name)
            if values is None:
                values = self._gathered[name] = []
            values += (step, value, time)
            is_much = len(values) >= 3 * _MOST_GATHERED or len(self._gathered) > _MOST_SERIES
        if is_much:
            with self._reading:
                self._sort_in()
        return is_first

    def add_line(self, line: Status) -> None:
        """Append a line, and number it."""
        with self._reading:
            self._version += 1
            self._last_line += 1
            self._lines.append(replace(line, number=self._last_line))
            self._text += len(line.text)
            while len(self._lines) > _MOST_LINES or self._text > _MOST_TEXT:
                self._text -= len(self._lines.popleft().text)

    def _sort_in(self) -> None:
        """Bring what was gathered to where it stays."""
        with self._adding:
            gathered, self._gathered = self._gathered, {}
        self._version += bool(gathered)
        for name, values in gathered.items():
            series = self._series.get(name)
            if series is None:
                if len(self._series) >= _MOST_SERIES:
                    continue
                series = self._series[name] = _Series()
            series.extend(values, min(_MOST_VALUES, _ROOM // len(self._series)))
            series.changed = self._version

    # ---- the sinks' side -------------------------------------------------------------

    def mark(self) -> Bookmark:
        """Return a bookmark at the end."""
        with self._reading:
            self._sort_in()
            return Bookmark(self._version, self._last_line)

    def has_news(self, mark: Bookmark) -> bool:
        """Return whether there is anything to read."""
        return bool(self._gathered) or self._version != mark.version

    def place(self, mark: Bookmark, subscribe: Subscribe) -> None:
        """Put a bookmark where a viewer wants to begin, or go on, to read.

        A newcomer also gets the lines that waited for whoever would come.
        """
        asked = subscribe.history
        with self._reading:
            self._sort_in()
            mark.version, mark.values = -1, {}
            if subscribe.line:
                mark.line = subscribe.line
            elif asked is None:
                mark.line = min(mark.line, self._last_line - _LINES_FOR_NEWCOMERS)
            else:
                mark.line = self._last_line - max(1, asked)
            for name, series in self._series.items():
                if name in subscribe.metrics:
                    mark.values[name] = subscribe.metrics[name]
                elif asked is not None:
                    mark.values[name] = series.count - max(1, asked)

    def read(self, mark: Bookmark) -> list[Metric | Status]:
        """Return what comes after a bookmark, or of very much the beginning, and move it there."""
        with self._reading:
            self._sort_in()
            lines = itertools.takewhile(lambda one: one.number > mark.line, reversed(self._lines))
            news: list[Metric | Status] = [*reversed([*lines])]
            mark.line = self._last_line
            room = _VALUES_AT_ONCE
            for name, series in self._series.items():
                if series.changed <= mark.version:
                    continue
                for metric in series.after(name, mark.values.get(name, 0)):
                    if room <= 0:
                        return news
                    news.append(metric)
                    mark.values[name] = last_number(metric)
                    room -= len(metric.values)
            mark.version = self._version
            return news
