"""A program is paused, tuned and stopped with the dock."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGroupBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSlider,
)

import napari_streaming as ns
from napari_streaming.widgets.controls import ControlPanel

pytestmark = pytest.mark.napari

PROGRAM = """
import sys, time
import napari_streaming as ns

with ns.Publisher(sys.argv[1], name="optimiser") as pub:
    snaps = 0
    for i in pub.steps(range(1_000_000)):
        rate = pub.parameter("rate", 0.1, min=0.0, max=1.0)
        name = pub.parameter("<i>name</i>", "first")
        method = pub.parameter("method", "otsu", choices=("otsu", "li"))
        fast = pub.parameter("fast", False)
        snaps += pub.button("snap")
        pub.progress(i, 1_000_000, "optimising 100 %")
        pub.metric("rate now", rate, i)
        pub.metric("snaps", snaps, i)
        pub.metric("said", {"first": 1, "second": 2}[name] + 10 * fast + 100 * (method == "li"), i)
        time.sleep(0.002)
    print("ended after", i, "stop requested:", pub.stop_requested)
"""


def button(panel, text):
    return next(b for b in panel.findChildren(QPushButton) if b.text() == text)


def test_a_program_is_paused_tuned_and_stopped_in_the_dock(dock, run, until):
    layers = dock.session.receiver.layers
    panel = dock.findChild(ControlPanel)
    assert not panel.isVisibleTo(dock)
    process = run(PROGRAM, dock.session.receiver.urls[0])
    until(lambda: panel.isVisibleTo(dock) and panel.findChildren(QSlider))
    until(lambda: "snaps" in layers.metrics)

    def last(name):
        return layers.metrics[name].values[-1]

    def said():
        return " ".join(label.text() for label in panel.findChildren(QLabel))

    button(panel, "Pause").click()
    until(lambda: "Paused by" in said())
    until(lambda: not waiting(layers))
    at = layers.metrics["snaps"].steps[-1]
    button(panel, "Step").click()
    until(lambda: layers.metrics["snaps"].steps[-1] == at + 1)
    button(panel, "Resume").click()
    until(lambda: layers.metrics["snaps"].steps[-1] > at + 3)

    slider = panel.findChild(QSlider)
    slider.setValue(slider.maximum() * 3 // 4)
    until(lambda: abs(last("rate now") - 0.75) < 0.002)
    button(panel, "snap").click()
    until(lambda: last("snaps") == 1)
    panel.findChild(QCheckBox).setChecked(True)
    panel.findChild(QComboBox).setCurrentText("li")
    line = panel.findChild(QLineEdit)
    line.setText("second")
    line.textChanged.emit("second")
    until(lambda: last("said") == 112)
    assert "<i>name</i>" in said(), "names are shown as they are"
    assert "optimising 100 %\u2060 " in panel.findChild(QProgressBar).text()

    button(panel, "Stop the program").click()
    box = panel.findChild(QMessageBox)
    box.button(QMessageBox.StandardButton.No).click()
    assert process.poll() is None, "nobody stops a long run by a slip of the mouse"
    button(panel, "Stop the program").click()
    panel.findChildren(QMessageBox)[-1].button(QMessageBox.StandardButton.Yes).click()
    output, _ = process.communicate(timeout=30)
    assert "stop requested: True" in output
    until(lambda: not panel.isVisibleTo(dock))


def test_programs_of_the_same_name_are_told_apart(dock, run, until):
    program = """
        import sys
        import napari_streaming as ns

        with ns.Publisher(sys.argv[1], name=sys.argv[2]) as pub:
            while pub.may_go() is not False:
                pub.progress(1, 2)
    """
    url, panel = dock.session.receiver.urls[0], dock.findChild(ControlPanel)

    def titles():
        return sorted(box.title() for box in panel.findChildren(QGroupBox))

    one = run(program, url, "a && b")
    until(lambda: titles() == ["a &&&& b"])
    two, other = run(program, url, "a && b"), run(program, url, "other")
    both = [f"a &&&& b ({process.pid})" for process in (one, two)]
    until(lambda: titles() == sorted([*both, "other"]))
    (source,) = dock.session.receiver.sources
    assert f"a && b ({two.pid})" in source.state and "other" in source.state
    other.kill()
    two.kill()
    until(lambda: titles() == ["a &&&& b"])


def test_who_may_only_look_on_finds_nothing_to_press(dock, until):
    panel = dock.findChild(ControlPanel)
    with ns.Publisher("tcp://127.0.0.1:0?listen") as program:
        program.parameter("rate", 0.1, min=0.0, max=1.0)
        program.parameter("name", "first")
        assert not program.paused  # and it can be steered from now on
        dock.open(program.view_urls[0])
        until(lambda: panel.findChild(QSlider))
        assert not [w for w in controls(panel) if w.isEnabled()]
        tips = {widget.toolTip() for widget in panel.findChildren(QPushButton)}
        assert tips == {"this address is only for looking on"}
        assert panel.findChild(QSlider).parent().toolTip() in tips
        dock.open(program.urls[0])
        until(lambda: all(widget.isEnabled() for widget in controls(panel)))
        assert button(panel, "Pause").toolTip() == "Have the program wait at its next step"


def controls(panel):
    return [w for kind in (QPushButton, QSlider, QLineEdit) for w in panel.findChildren(kind)]


def waiting(layers):
    """Return whether the program still runs: its last step came less than a moment ago."""
    from time import time

    return time() - layers.metrics["snaps"].times[-1] < 0.3
