"""For programs that run in asyncio: the same Publisher, whose waiting lets others run."""

from __future__ import annotations

import asyncio
from types import TracebackType

from napari_streaming.publish.publisher import PublishCalls

__all__ = ["Publisher"]


class Publisher(PublishCalls):
    """Streams layers, metrics and status to viewers, from coroutines.

    It is made like :class:`napari_streaming.Publisher` and has the same calls. Those that
    return at once, ``image``, ``metric`` and the like, are plain methods here, too; what waits
    is awaited.

    Examples
    --------
    >>> async with Publisher("tcp://127.0.0.1:5555") as pub:
    ...     async for i in pub.steps(range(1000)):
    ...         pub.image("nuclei", await acquire(), at={"t": i})
    """

    async def flush(self, timeout: float = 5.0) -> bool:  # as elsewhere
        """Wait until every viewer has acknowledged everything.

        Parameters
        ----------
        timeout : float
            Seconds to wait at the most.

        Returns
        -------
        bool
            Whether all is acknowledged; see :meth:`napari_streaming.Publisher.flush`.

        Raises
        ------
        ClosedError
            The publisher is closed.
        """
        self._engine.check_open()
        return await asyncio.to_thread(self._engine.wait_until_idle, timeout)

    async def checkpoint(self) -> None:
        """Wait while paused.

        Raises
        ------
        StopRequested
            A viewer wants the program to end.
        """
        if not await self.wait_resumed():
            self._engine.steering.checkpoint()

    async def close(self, timeout: float | None = None) -> None:
        """Send what waits, then let go; never longer than `timeout`.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default the ``close_timeout`` of the settings.
        """
        await asyncio.to_thread(
            self._end, self._settings.close_timeout if timeout is None else timeout
        )

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
