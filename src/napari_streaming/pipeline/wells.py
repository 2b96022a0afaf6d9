"""Well filters: which wells somebody means by ``"row:A"``, ``["A01", "col:05-06"]`` or 8."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, SupportsIndex

from napari_streaming.errors import PipelineError
from napari_streaming.wire.messages import Coordinate

__all__ = ["WellFilter", "position", "select_wells"]

WellFilter = str | int | Sequence[str | int]
"""Ids, comma lists, ``row:A-C``, ``col:01-06``, ``A01:C12``, the first N, or a list of these."""

_POSITION = re.compile(r"([A-Za-z]{1,2})([0-9]{1,3})")
_LINES = re.compile(r"(row|col):([^-]+)(?:-(.+))?", re.IGNORECASE)
_SHOWN = 8


def position(well: Coordinate) -> tuple[int, int] | None:
    """Return row and column of a well that is named like ``A01``, both from 1; else None."""
    found = _POSITION.fullmatch(str(well))
    if found is None or not int(found[2]):
        return None
    return _row(found[1]), int(found[2])


def select_wells(
    wanted: WellFilter,
    wells: Sequence[Coordinate],
    *,
    known: Sequence[Coordinate] | None = None,
) -> frozenset[Coordinate]:
    """Return the wells that a filter means.

    Parameters
    ----------
    wanted : str, int, or sequence of these
        Ids (``"A1"`` finds ``"A01"``), comma lists, ``row:A``, ``row:A-C``, ``col:01-06``,
        ``A01:C12`` (all wells between these corners), or the first N wells. 0 and an empty
        list mean none.
    wells : sequence of str, int or float
        Those there are to choose from, in their order.
    known : sequence of str, int or float, optional
        Wells that a filter may name although they are not in `wells`: the rest of the plate.

    Returns
    -------
    frozenset
        Some of `wells`.

    Raises
    ------
    PipelineError
        A part of the filter matches nothing at all, or is none.
    """
    parts: Iterable[Any] = [wanted]
    if isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes):
        parts = wanted
    found: set[Coordinate] = set()
    for part in parts:
        if not isinstance(part, str):
            found.update(_first(part, wells))
            continue
        for term in part.split(","):
            matches = _matching(term.strip(), wells)
            if not matches and not _matching(term.strip(), known or ()):
                raise PipelineError(_nothing(term.strip(), known or wells))
            found |= matches
    return frozenset(found)


def _first(count: Any, wells: Sequence[Coordinate]) -> Sequence[Coordinate]:
    # numpy's integers are numbers, too
    if isinstance(count, bool) or not isinstance(count, SupportsIndex) or index(count) < 0:
        raise PipelineError(f"{count!r} is no well filter; an int is how many of the first wells")
    return wells[: index(count)]


def _matching(term: str, wells: Sequence[Coordinate]) -> set[Coordinate]:
    exact = {well for well in wells if str(well) == term}
    if exact:
        return exact
    corners = _corners(term)
    if corners is None:
        return set()
    (top, left), (bottom, right) = corners
    return {
        well
        for well in wells
        if (at := position(well)) and top <= at[0] <= bottom and left <= at[1] <= right
    }


def _corners(term: str) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the first and the last row and column that a term means, if it means any."""
    if lines := _LINES.fullmatch(term):
        kind, first, last = lines[1].lower(), lines[2].strip(), (lines[3] or lines[2]).strip()
        number = _row if kind == "row" else _column
        low, high = number(first), number(last)
        if not (low and high):
            return None
        low, high = min(low, high), max(low, high)
        everything = (1, float("inf"))
        rows, columns = ((low, high), everything) if kind == "row" else (everything, (low, high))
        return (rows[0], columns[0]), (rows[1], columns[1])
    start, _, end = term.partition(":")
    one, other = position(start.strip()), position((end or start).strip())
    if one is None or other is None:
        return None
    return (
        (min(one[0], other[0]), min(one[1], other[1])),
        (max(one[0], other[0]), max(one[1], other[1])),
    )


def _row(letters: str) -> int:
    """Return the number of a row, 0 if it is none: A is 1, AA follows on Z."""
    if not (letters.isascii() and letters.isalpha() and len(letters) <= 2):
        return 0
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _column(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else 0


def _nothing(term: str, wells: Sequence[Coordinate]) -> str:
    there = ", ".join(str(well) for well in wells[:_SHOWN]) or "none"
    more = f" and {len(wells) - _SHOWN} more" if len(wells) > _SHOWN else ""
    return (
        f"the well filter {term!r} matches nothing; the wells are {there}{more}. Filters are ids, "
        "row:A, col:01-06, A01:A12, a number for the first N, and lists of these"
    )
