"""What pipelines do with the output of each step: a table."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QHeaderView, QWidget

from napari_streaming.widgets.table import Cell, Table, plain
from napari_streaming.wire.messages import Outline, OutlineStep

__all__ = ["OutlineTable"]


class OutlineTable(Table):
    """The steps of each pipeline: what is written, what is streamed and why. Hidden if none."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(
            ("Step", "Written", "Streamed", "Done"),
            (
                "The pipeline's step",
                "Where its output is written",
                "Whether viewers are sent its output, and why not: only what is written is",
                "Pieces of work, of all that there are",
            ),
            parent,
            words=3,
        )
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.hide()

    def show_outlines(self, outlines: Iterable[Outline]) -> None:
        """Show the outlines as they are now."""
        rows = [_cells(outline, step) for outline in outlines for step in outline.steps]
        self.setVisible(bool(rows))
        self.show_rows(rows)


def _cells(outline: Outline, step: OutlineStep) -> tuple[Cell, ...]:
    why = plain(f"{outline.title}, {step.name}: {step.why}")
    done = f"{step.done} of {step.total}" if step.total else str(step.done)
    failed = f", {step.failed} failed" if step.failed else ""
    return (
        (step.name, why),
        (step.written or "\N{EN DASH}", plain(step.written or "nowhere")),
        ("yes" if step.streamed else f"no: {step.why}", why),
        (done + failed, plain(done + failed)),
    )
