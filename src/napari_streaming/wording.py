"""Numbers of things in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, what: str) -> str:
    """Return ``1 well``, ``2 wells``; `what` is one of them."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
