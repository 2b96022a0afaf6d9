"""JSON documents that are replaced at once: who reads one gets the old or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["KEY", "group", "write_json"]

KEY = "napari_streaming"
"""Under this name stands what is ours in the attributes of a zarr group."""


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document, or replace it.

    Raises
    ------
    OSError
        It cannot be written; the old one is still there.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def group(**attributes: Any) -> dict[str, Any]:
    """Return the document of a zarr group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
