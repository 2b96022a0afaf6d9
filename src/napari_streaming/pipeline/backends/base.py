"""What all backends have in common: a batch of values for one path, and three calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from napari_streaming.pipeline.values import About, Coordinates, Value, ValueKind

__all__ = ["Backend", "Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The values that one path is to hold: one or more, all of the same kind.

    Parameters
    ----------
    path : str
        A relative POSIX path that stays below the root.
    values : tuple of ndarray, Points or float
    at : tuple of mapping
        Where each value belongs; as many as values.
    kind : {"image", "labels", "points", "metric"}
    about : About
    """

    path: str
    values: tuple[Value, ...]
    at: tuple[Coordinates, ...]
    kind: ValueKind
    about: About


class Backend(ABC):
    """A store of values under paths.

    Its calls raise DataError for what cannot be kept or is not there, and OSError for what the
    system refuses; :class:`Storage` adds the path, the backend and the way out.
    """

    @abstractmethod
    def save(self, batch: Batch) -> None:
        """Keep the values of one path, all or none, in place of what was there."""

    @abstractmethod
    def load(self, path: str, *, whole: bool) -> list[Value]:
        """Return the values of a path in their order, or all of them as one."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether a path holds values."""

    def close(self) -> None:
        """Let go of what it opened."""
        return None
