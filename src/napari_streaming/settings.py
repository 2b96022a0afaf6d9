"""Numbers that a user may want to change, with their units and their reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PublisherSettings", "ReceiverSettings"]

MIB = 1024 * 1024
GIB = 1024 * MIB


def _quarter_of_memory() -> int:
    import psutil  # 10 ms: only who receives pays

    return int(psutil.virtual_memory().total) // 4


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """Limits of a publisher.

    Parameters
    ----------
    memory : int
        Bytes that planes may take while they wait for viewers. Touched only as needed,
        recycled for ever; when full, the oldest waiting plane makes room for the newest.
    close_timeout : float
        Seconds that ``close()`` and the interpreter's exit may wait for viewers.
    history : int
        Bytes of the memory, half of it at most, that planes of a layer's past may take, for
        viewers that come late. The last plane of each layer is kept in any case, and the
        whole past of reliable streams. More is not dearer but slower: planes that the
        processor's cache holds no more are copied at half the speed.
    spool : int
        Bytes on disk that planes of reliable streams may take when they fill half of the
        memory: those that wait for viewers, and all others for those yet to come. 0: none.
    spool_folder : str
        Where on disk; empty: where the system has its temporary files. Nothing stays there.
    lease : float
        Seconds that the program stays paused when the viewer that paused it is gone.
    """

    memory: int = 512 * MIB
    close_timeout: float = 2.0
    history: int = 16 * MIB
    spool: int = 8 * GIB
    spool_folder: str = ""
    lease: float = 60.0


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Limits of a receiver.

    Parameters
    ----------
    window : int
        Bytes that one publisher may have under way to us: what it sends before the
        first acknowledgement comes back, and the most a frozen viewer pins.
    warm : int
        Bytes of plane memory that are faulted in ahead of need; at most `budget`.
    budget : int
        Bytes that the planes of all layers may take in memory, by default a quarter of
        what the machine has. The rest waits on disk, compressed, until it is looked at.
    history : int, optional
        How many of the last items of each layer are asked for of a publisher that was there
        before us; at least one comes. None: all that it still has. So with the values of each
        metric, and with the lines of the log.
    streams : tuple of str
        Names of the streams that are wanted; empty: all. The others are not sent.
    max_fps : float
        The most items of each stream in a second; 0: no limit. Of streams that are not
        reliable the newest win, the others come later.
    max_mb_s : float
        The most that comes from one publisher in a second, in megabytes; 0: no limit.
    max_side : int
        The most pixels along y and x that are sent of images and labels, of larger ones every
        second, third, ...; 0: all. From a program on this machine all come in any case, and
        while something is recorded.
    region : (int, int, int, int), optional
        First y and x, and those behind the last, of the only part of each plane that is wanted.

    Raises
    ------
    ValueError
        A limit is less than nothing, a name none of a stream, or a region empty.
    """

    window: int = 128 * MIB
    warm: int = 256 * MIB
    budget: int = field(default_factory=_quarter_of_memory)
    history: int | None = None
    streams: tuple[str, ...] = ()
    max_fps: float = 0.0
    max_mb_s: float = 0.0
    max_side: int = 0
    region: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("max_fps", "max_mb_s", "max_side"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: a number from 0 is needed")
        if len(self.streams) > 1024 or not all(0 < len(name) <= 256 for name in self.streams):
            raise ValueError("streams: at most 1024 names, of 1 to 256 characters")
        top, left, bottom, right = self.region or (0, 0, 1, 1)
        if not (0 <= top < bottom and 0 <= left < right):
            raise ValueError(f"region={self.region}: (y, x) and a larger (y, x) are needed")
