from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.receive.metrics import Metrics, MetricSeries
from napari_streaming.wire.messages import Metric


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 60))
def test_a_series_holds_the_last_values(counts, limit):
    series, model, number = MetricSeries(limit=limit), [], 0
    for count in counts:
        chunk = [float(n) for n in range(number, number + count)]
        number += count
        before = series.values, list(model[-limit:])
        series.extend(chunk, [2 * n for n in chunk], [3 * n for n in chunk])
        model += chunk
        np.testing.assert_array_equal(before[0], [2 * n for n in before[1]])
    model = model[-limit:]
    assert len(series) == len(model)
    np.testing.assert_array_equal(series.steps, model)
    np.testing.assert_array_equal(series.values, [2 * n for n in model])
    np.testing.assert_array_equal(series.times, [3 * n for n in model])


def test_what_is_read_cannot_be_changed():
    series = MetricSeries()
    series.extend([1.0], [2.0], [3.0])
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 7


def one(value, name="energy"):
    return Metric(name, [0.0], [value], [0.0])


def test_runs_at_the_same_time_stay_apart():
    metrics, running = Metrics(), {"a": 1, "b": 1}
    for run, value in (("a", 1.0), ("b", 2.0), ("a", 3.0), ("b", 4.0)):
        metrics.add(one(value), run, running=running, new_run="continue")
    assert {name: list(series.values) for name, series in metrics.items()} == {
        "energy": [1, 3],
        "energy [2]": [2, 4],
    }


@pytest.mark.parametrize(
    ("new_run", "left"),
    [
        ("continue", {"energy": [1, 2]}),
        ("replace", {"energy": [2]}),
        ("beside", {"energy": [1], "energy [2]": [2]}),
    ],
)
def test_a_new_run_does_as_it_is_set(new_run, left):
    metrics = Metrics()
    metrics.add(one(1.0), "a", running={"a": 1}, new_run=new_run)
    metrics.add(one(2.0), "b", running={"a": 0, "b": 1}, new_run=new_run)
    assert {name: list(series.values) for name, series in metrics.items()} == left


def test_names_without_end_do_not_fill_the_memory():
    metrics = Metrics()
    for number in range(5000):
        metrics.add(one(1.0, f"m{number}"), "a", running={}, new_run="continue")
    assert len(metrics) == 4096
    metrics.add(one(2.0, "m0"), "a", running={}, new_run="continue")
    assert len(metrics["m0"]) == 2
