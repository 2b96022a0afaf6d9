"""Buttons, progress and parameters of the programs that can be steered."""

from __future__ import annotations

import time
from collections.abc import Iterable
from html import escape
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSlider,
    FloatSpinBox,
    LineEdit,
    PushButton,
    Slider,
    SpinBox,
)
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_streaming.receive.programs import Program, tell_apart
from napari_streaming.widgets.labels import plain_label, plain_text
from napari_streaming.wire.messages import Parameter, Progress

__all__ = ["ControlPanel"]

_SETTLE_S = 1.0  # an echo of an earlier value must not move what the user is moving
_FINE = 1000
_WIDE = 1000.0  # from the least to the most: a slider would show nothing of the least
_LONGEST = 2**31 - 1
_LOOKS_ON = "this address is only for looking on"


class ControlPanel(QWidget):
    """A box for each program that can be steered; hidden if there is none.

    Signals
    -------
    asked : (str, str)
        A program's run, and what it is to do: pause, resume, step or stop.
    set : (str, str, object)
        A program's run, the name of a parameter and its value.
    """

    asked = Signal(str, str)
    set = Signal(str, str, object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._boxes: dict[str, _ProgramBox] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def show_programs(self, programs: Iterable[Program]) -> None:
        """Show these programs as they are now; those that are gone go."""
        connected = [program for program in programs if program.is_connected]
        called = tell_apart(connected)
        wanted = {p.run: p for p in connected if p.is_steered or p.progress}
        for run in self._boxes.keys() - wanted.keys():
            box = self._boxes.pop(run)
            self.layout().removeWidget(box)
            box.deleteLater()
        for run, program in wanted.items():
            if run not in self._boxes:
                box = self._boxes[run] = _ProgramBox(run, self)
                box.asked.connect(self.asked)
                box.set.connect(self.set)
                self.layout().addWidget(box)
            self._boxes[run].show_program(program, called[run])
        self.setVisible(bool(wanted))


class _ProgramBox(QGroupBox):
    """One program."""

    asked = Signal(str, str)
    set = Signal(str, str, object)

    def __init__(self, run: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._run, self._called = run, ""
        self._fields: dict[str, _Field] = {}
        self._pause = QPushButton("Pause", self)
        self._step = QPushButton("Step", self)
        self._stop = QPushButton("Stop the program", self)
        self._tips = {
            self._pause: "Have the program wait at its next step",
            self._step: "Have it take one step, and wait",
            self._stop: "Have it end, for good",
        }
        self._said = plain_text(self)
        self._bar = QProgressBar(self)
        self._form = QFormLayout()
        buttons = QHBoxLayout()
        for button in self._tips:
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(buttons)
        layout.addWidget(self._said)
        layout.addWidget(self._bar)
        layout.addLayout(self._form)
        self._pause.clicked.connect(self._ask_to_pause)
        self._step.clicked.connect(self._ask_to_step)
        self._stop.clicked.connect(self._ask_to_stop)

    def show_program(self, program: Program, called: str) -> None:
        """Show the program as it is now, under a name that no other one has."""
        self._called = called
        self.setTitle(called.replace("&", "&&"))
        state = program.running.state if program.running else ""
        for button, tip in self._tips.items():
            button.setVisible(bool(state))
            button.setEnabled(state != "stopping" and program.may_steer)
            button.setToolTip(tip if program.may_steer else _LOOKS_ON)
        self._pause.setText("Resume" if state == "paused" else "Pause")
        said = _said(program)
        self._said.setVisible(bool(said))
        self._said.setText(said)
        self._show_progress(program.progress)
        for parameter in program.parameters.values():
            field = self._fields.get(parameter.name)
            if field is None:
                field = self._fields[parameter.name] = _Field(parameter, self)
                field.changed.connect(self._pass_on)
                self._form.addRow(*field.row)
            field.show_value(parameter, program.may_steer)

    def _show_progress(self, progress: Progress | None) -> None:
        self._bar.setVisible(progress is not None)
        if progress is not None:
            share = min(1.0, progress.done / progress.total) if progress.total else 0.0
            self._bar.setRange(0, _FINE if progress.total else 0)
            self._bar.setValue(round(share * _FINE))
            total = f" of {progress.total:g}" if progress.total else ""
            words = f"{progress.text}  {progress.done:g}{total}".strip()
            # Qt writes numbers where %p, %v and %m stand, which a program may have meant itself.
            self._bar.setFormat(words.replace("%", "%\u2060"))

    def _pass_on(self, name: str, value: object) -> None:
        self.set.emit(self._run, name, value)

    def _ask_to_pause(self) -> None:
        self.asked.emit(self._run, "pause" if self._pause.text() == "Pause" else "resume")

    def _ask_to_step(self) -> None:
        self.asked.emit(self._run, "step")

    def _ask_to_stop(self) -> None:
        box = QMessageBox(self)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(f"Stop {self._called} for good?")
        box.setStandardButtons(QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No)
        box.setDefaultButton(QMessageBox.StandardButton.No)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.accepted.connect(self._stop_now)
        box.open()  # the stream goes on meanwhile

    def _stop_now(self) -> None:
        self.asked.emit(self._run, "stop")


class _Field(QObject):
    """The widget of one parameter.

    Signals
    -------
    changed : (str, object)
        The name of the parameter, and what the user wants it to be.
    """

    changed = Signal(str, object)

    def __init__(self, parameter: Parameter, parent: QWidget) -> None:
        super().__init__(parent)
        self._name = parameter.name
        self._changed_at = -_SETTLE_S
        self._is_button = parameter.kind == "button"
        self._widget = _make_widget(parameter)
        self._widget.changed.connect(self._tell)
        name = "" if self._is_button else parameter.name
        self.row = (plain_label(parent, name), self._widget.native)

    def show_value(self, parameter: Parameter, may_steer: bool) -> None:
        """Show the value that the program has, unless the user is changing it."""
        set_by = f"<qt>set by {escape(parameter.by)}</qt>" if parameter.by else ""
        self._widget.native.setToolTip(set_by if may_steer else _LOOKS_ON)
        self._widget.native.setEnabled(may_steer)
        settled = time.monotonic() - self._changed_at >= _SETTLE_S
        if settled and not self._is_button and self._widget.value != parameter.value:
            with self._widget.changed.blocked():
                self._widget.value = parameter.value

    def _tell(self, value: object) -> None:
        self._changed_at = time.monotonic()
        self.changed.emit(self._name, value)


def _make_widget(parameter: Parameter) -> Any:
    low, high = parameter.minimum, parameter.maximum
    both = low is not None and high is not None and high > low
    value: Any = parameter.value
    if parameter.kind == "float":
        if both:
            assert low is not None and high is not None
            if low > 0 and high / low >= _WIDE:
                return FloatSpinBox(value=value, min=low, max=high, step=low)
            return FloatSlider(value=value, min=low, max=high, step=(high - low) / _FINE)
        low, high = -1e300 if low is None else low, 1e300 if high is None else high
        return FloatSpinBox(value=value, min=low, max=high, step=None)
    if parameter.kind == "int":
        least = max(-_LONGEST, -_LONGEST if low is None else int(low))
        most = min(_LONGEST, _LONGEST if high is None else int(high))
        return (Slider if both else SpinBox)(value=value, min=least, max=most)
    if parameter.kind == "choice":
        return ComboBox(value=value, choices=parameter.choices)
    if parameter.kind == "bool":
        return CheckBox(value=value, text="")
    if parameter.kind == "button":
        return PushButton(text=parameter.name)
    return LineEdit(value=value)


def _said(program: Program) -> str:
    """Return who paused or stopped a program, in words."""
    running = program.running
    if running is None:
        return ""
    words = {"running": "", "paused": "Paused", "stopping": "Stopping"}[running.state]
    by = f"{words} by {running.by}" if words and running.by else words
    return "\n".join(filter(None, (by, running.note)))
