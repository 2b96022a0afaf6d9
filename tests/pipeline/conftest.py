from __future__ import annotations

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def steps(monkeypatch):
    """Steps that worker processes can import, too."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "importable")
    return importlib.import_module("pipeline_steps")
