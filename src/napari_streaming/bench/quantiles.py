"""Quantiles under the names that the benchmarks give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["quantiles"]


def quantiles(values: Sequence[float] | np.ndarray, **percents: float) -> dict[str, float]:
    """Return percentiles by name: ``quantiles(times, median=50, p99=99)``."""
    return {name: float(np.percentile(values, percent)) for name, percent in percents.items()}
