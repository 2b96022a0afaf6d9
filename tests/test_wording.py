"""Numbers of things in sentences."""

from __future__ import annotations

import re
from pathlib import Path

from napari_streaming.wording import counted

SOURCES = Path(__file__).parents[1] / "src" / "napari_streaming"


def test_one_is_not_many():
    said = [counted(n, "well") for n in range(3)]
    assert said == ["0 wells", "1 well", "2 wells"]


def test_nobody_writes_a_number_of_wells_by_hand():
    by_hand = re.compile(r"""["' (]\{[^{}]+\} (wells|planes|files|viewers|steps|items|layers)\b""")
    found = [
        f"{path.name}: {line.strip()}"
        for folder in ("pipeline", "cli", "demo", "widgets", "napari_plugin")
        for path in sorted((SOURCES / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if by_hand.search(line)
    ]
    assert found == []
