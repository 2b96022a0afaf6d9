"""Parcels whose viewer is gone, while its dead connection still reads their memory."""

from __future__ import annotations

from napari_streaming.publish.staging import Parcel
from napari_streaming.transport.base import Delivery

__all__ = ["Limbo"]


class Limbo:
    """Holds parcels until their deliveries are done. Its owner guards it with a lock."""

    def __init__(self) -> None:
        self._held: list[tuple[Delivery, Parcel]] = []

    def add(self, delivery: Delivery, parcel: Parcel) -> None:
        """Hold a parcel, unless its delivery is done."""
        if not delivery.done:
            self._held.append((delivery, parcel.retain()))

    def leave(self) -> bool:
        """Let go of what was delivered meanwhile; return whether that is all."""
        held, self._held = self._held, []
        for delivery, parcel in held:
            if delivery.done:
                parcel.release()
            else:
                self._held.append((delivery, parcel))
        return not self._held
