"""What docs/pipelines.md says, typed as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
PORT = "127.0.0.1:5555"


@pytest.mark.timeout(300)
def test_the_page_can_be_typed(tmp_path, receiver):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    steps, *blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "steps.py").write_text(steps)
    here = viewer.urls[0].partition("#")[0].removeprefix("tcp://")
    assert sum(PORT in block for block in blocks) == 4
    script = "\n".join(blocks).replace(PORT, here)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.replace(here, PORT)
    for text in shown:
        assert text in said
    assert said.count("True") == 3 and "(3, 64, 64)" in said
    assert set(viewer.layers) == {"project", "segment", "measure", "cells", "plate"}
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"segment", "measure", "count"}
