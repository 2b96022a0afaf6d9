"""A cell with a small line in it: how late a stream was of late, and when it lost something."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from napari_streaming.receive.latency import History, Recent

__all__ = ["RECENT", "SparklineDelegate"]

RECENT = Qt.ItemDataRole.UserRole
"""The role under which a cell holds its :class:`Recent`."""

_LOSS = QColor("#e5484d")  # to be seen on dark and on light
_FULL_HEIGHT = 0.1  # seconds; less is drawn as little as it is
_MARGIN = 3.0


class SparklineDelegate(QStyledItemDelegate):
    """Paints the recent past of a stream, the present at the right.

    The line is the longest wait, from nothing at the bottom to the longest on show at the
    top; the ticks at the bottom are losses.
    """

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint the cell."""
        super().paint(painter, option, index)
        recent = index.data(RECENT)
        if not isinstance(recent, Recent):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(option.rect).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        painter.setPen(QPen(_LOSS, 1.5))
        for ago in recent.lost:
            x = _across(box, ago)
            painter.drawLine(QPointF(x, box.bottom()), QPointF(x, box.bottom() - box.height() / 4))
        ink, points = option.palette.color(QPalette.ColorRole.Text), _points(box, recent)
        painter.setPen(QPen(ink, 1.0))
        painter.drawPolyline(QPolygonF(points))
        if points:  # a line of one point alone would not be seen
            painter.setPen(QPen(ink, 3.0, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
            painter.drawPoint(points[-1])
        painter.restore()


def _points(box: QRectF, recent: Recent) -> list[QPointF]:
    top = max((seconds for _, seconds in recent.late), default=0.0)
    scale = box.height() / max(top, _FULL_HEIGHT)
    return [
        QPointF(_across(box, ago), box.bottom() - seconds * scale) for ago, seconds in recent.late
    ]


def _across(box: QRectF, ago: int) -> float:
    return box.right() - box.width() * ago / (History.QUARTERS - 1)
