"""Programs of the same name."""

from __future__ import annotations

import pytest

from napari_streaming.receive.programs import Program, tell_apart


@pytest.mark.parametrize(
    ("programs", "called"),
    [
        ([Program("r1", "a.py", 1), Program("r2", "b.py", 1)], ["a.py", "b.py"]),
        (
            [Program("r1", "a.py", 1), Program("r2", "a.py", 2), Program("r3", "b.py", 3)],
            ["a.py (1)", "a.py (2)", "b.py"],
        ),
        (
            [Program("r1", "a.py", 1), Program("r2", "a.py", 1, is_here=False)],
            ["a.py (1)", "a.py (1, another host)"],
        ),
        (
            [Program("1b0fc5d2", "a.py", 1), Program("77aa05f1", "a.py", 1), Program("r", "a.py")],
            ["a.py (1, run 1b0fc5)", "a.py (1, run 77aa05)", "a.py (process unknown)"],
        ),
        ([], []),
    ],
)
def test_what_tells_them_apart_is_shown_where_names_clash_only(programs, called):
    assert tell_apart(programs) == dict(zip([p.run for p in programs], called, strict=True))
