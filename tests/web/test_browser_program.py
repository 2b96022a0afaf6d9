"""The browser viewer and its program: steered, looked at, gone and back; all by keyboard, too."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import ExitStack

import numpy as np
import pytest

from napari_streaming.publish.publisher import Publisher

URL = "ws://127.0.0.1:0?listen"


@pytest.fixture
def program(publisher):
    return publisher(URL)


@pytest.fixture
def named():
    """Make a publisher whose program has a name of its own."""
    with ExitStack() as undo:
        yield lambda name: undo.enter_context(Publisher(URL, name=name))


def test_a_program_is_steered(page, program, until, in_thread):
    page.open(program.pages[0])
    rates, steps = [], []

    def loop():
        for i in program.steps(range(10**9)):
            steps.append(i)
            rates.append(program.parameter("rate", 0.1, min=0.0, max=1.0))
            program.metric("energy", 1 / (i + 1), step=i)
            program.progress(i % 100, 100)
            threading.Event().wait(0.005)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        page.until("document.querySelector('[aria-label=rate]')")
        page(
            "(() => { const slider = document.querySelector('[aria-label=rate]'); "
            "slider.value = 0.75; slider.dispatchEvent(new Event('input')); })()"
        )
        until(lambda: rates[-1] == 0.75)
        page("document.activeElement.blur()")
        page.chromium.press(" ", "Space", " ")
        until(lambda: program.paused)
        page.until("document.getElementById('running').textContent.startsWith('paused by browser')")
        before = len(steps)
        page("document.getElementById('step').click()")
        until(lambda: len(steps) == before + 1)
        page.chromium.press(" ", "Space", " ")
        until(lambda: len(steps) > before + 5)
        page.until("document.getElementById('running').textContent === 'running'")
        page.until(r"/resumed by browser on [^()]+$/.test(viewer.store.log.at(-1).text)")
        page.until("document.querySelector('figure output')")
        page("document.getElementById('stop').click()")
        in_thread(thread.join)
        page.until("document.getElementById('running').textContent.startsWith('stopping')")
    finally:
        program.close()


def test_who_may_only_look_on_finds_nothing_to_press(page, program):
    page.open(program.view_pages[0])
    assert program.paused is False  # and it can be steered from now on
    program.parameter("rate", 0.5, min=0, max=1)
    program.button("save")
    page.until("document.querySelectorAll('#parameters .field').length == 2")
    page.until("!document.getElementById('pause').hidden")
    able = "[...document.querySelectorAll('#wishes :is(button, input):enabled')].length"
    tips = "[...document.querySelectorAll('#wishes [title]')].map((one) => one.title)"
    assert page(able) == 0
    assert set(page(tips)) == {"this address is only for looking on"}
    assert page.text("#obstacle") == "this address is only for looking on"
    page.chromium.press(" ", "Space", " ")
    page("viewer.session.send({ type: 'control', action: 'stop' })")  # whatever the page thinks
    page.until("document.getElementById('log').textContent.includes('only for looking on')")
    assert not program.paused and not program.stop_requested
    page.open(program.pages[0])
    page.until("document.querySelectorAll('#parameters .field').length == 2")
    assert page(able) == 6 and page.text("#obstacle") == ""  # one of the buttons is hidden


EVIL = [
    "<img src=x onerror='document.title=1'>",
    "<script>document.title=2</script>",
    "<b>x</b>",
    "&lt;b&gt;\"'`${1}<svg onload=alert(1)>",
]


@pytest.mark.parametrize("evil", EVIL)
def test_names_are_text(page, named, evil):
    program = named(evil)
    page.open(program.pages[0])
    assert not program.paused  # and it can be steered from now on
    plane = np.zeros((4, 4), np.uint8)
    program.image(evil, plane, at={evil: 1}, colormap=evil, units=evil)
    program.image(evil, plane, at={evil: evil})
    program.labels(evil, plane, at={evil: evil})
    program.points(evil, [[1, 1]], features={evil: [evil]}, at={evil: evil})
    program.surface(evil, [[0, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 1, 2]])
    program.metric(evil, 1.0)
    for level in ("info", "error"):
        program.status(level, evil)
    program.parameter(evil, evil, choices=[evil, "b"])
    program.parameter("on" + evil, True)
    program.parameter("text" + evil, evil)
    program.parameter("range" + evil, 0.5, min=0.0, max=1.0)
    program.button("press" + evil)
    program.progress(1, 2, evil)
    page.wait_for_items(5)
    page.until("document.querySelectorAll('#layer-list .name').length == 4")
    page.until("document.querySelectorAll('#parameters .name').length == 5")
    page.until(
        "document.querySelectorAll('#log li').length == 2 && document.querySelector('figure')"
    )
    # Who paused is told by name, and what a program says of it.
    told = {"type": "running", "state": "paused", "by": evil, "note": evil}
    page(f"viewer.store.take({json.dumps(told)}, 0, 0), document.getElementById('live').click()")
    page("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=300, y=300)
    shown = [
        "#state", ".slider .name", ".slider output", "#layer-list li:nth-child(2) .name",
        "#layer-list option", "#parameters .name", "#parameters option",
        "#running", "#progress-text", "figcaption .name", "#log li", "#log li:last-child",
        "#readout", "title",
    ]  # fmt: skip
    for selector in shown:
        all_of_them = f"[...document.querySelectorAll({selector!r})]"
        page.until(f"{all_of_them}.some((e) => e.textContent.includes({json.dumps(evil)}))")
    for mark in ("title", "aria-label", "aria-valuetext"):
        all_of_them = f"[...document.querySelectorAll('[{mark}]')]"
        page.until(
            f"{all_of_them}.some((e) => e.getAttribute('{mark}').includes({json.dumps(evil)}))"
        )
    assert page("document.querySelectorAll('img, b, svg, body script').length") == 0


def test_a_program_that_is_killed_and_started_again(page, remote):
    port = free_port()
    start = (
        "import numpy as np, napari_streaming as ns\n"
        f"pub = ns.Publisher('ws://127.0.0.1:{port}?listen#secret')\n"
        "def show(t, v): pub.image('cells', np.full((4, 4), v, 'u1'), at={'t': t}, "
        "contrast_limits=(0, 255))"
    )
    steer = (
        "[pub.paused, pub.parameter('rate', 0.5, min=0, max=1), pub.button('save'), "
        "pub.progress(1), pub.metric('energy', 1.0)] and None"
    )
    program = remote()
    program(start)
    page.open(f"http://127.0.0.1:{port}/#secret")
    program("show(0, 50)")
    program(steer)
    page.wait_for_items(1)
    page.until("document.querySelectorAll('#parameters .field').length == 2")
    page.until("document.querySelector('figure') && !document.getElementById('progress').hidden")
    page.until("document.getElementById('rate').textContent.includes('MB/s')")
    page.until("document.getElementById('latency').textContent.includes('ms')")
    able = "[...document.querySelectorAll('#wishes :is(button, input):enabled')].length"
    assert page(able) == 6
    assert page.text("#running") == "running"

    program.kill()
    page.until("document.body.dataset.state == 'gone'")
    assert re.fullmatch(r".* is gone since .*\d:\d\d.*", page.text("#state"))
    assert page.text("#obstacle") == page.text("#state")
    assert page(able) == 0 and page.text("#running") == ""
    assert page("document.getElementById('pause').title") == page.text("#state")
    assert page.text("#rate") == page.text("#latency") == "\N{EN DASH}"
    assert not page("document.getElementById('bar').checkVisibility()")  # it would move
    assert page.pixels(4, 4)[0, 0, 0] == 50  # what is here stays
    assert page.text("figcaption output") == "1"
    told = page.text("#state")
    page.until(f"viewer.session.retry > {page('viewer.session.retry')}")
    assert page.text("#state") == told  # however often it was tried

    again = remote()
    again(start)
    page.until("viewer.session.isOpen")
    assert page.text("#obstacle") == "" and page("document.body.dataset.state") == "open"
    again("show(1, 90)")
    again(steer)
    page.wait_for_items(1)
    assert page.pixels(4, 4)[0, 0, 0] == 90
    page.until("document.querySelector('.slider output').textContent.includes('2/2')")
    page.until(f"{able} == 6 && document.getElementById('running').textContent == 'running'")
    page.until("document.getElementById('latency').textContent.includes('ms')")
    page("document.getElementById('pause').click()")
    page.until("document.getElementById('running').textContent.startsWith('paused by')")


def test_a_program_that_ended_is_said_to_have_ended(page, named):
    program = named("count.py")
    page.open(program.pages[0])
    program.image("cells", np.full((4, 4), 50, np.uint8), contrast_limits=(0, 255))
    page.wait_for_items(1)
    program.close()
    page.until("document.getElementById('state').textContent.startsWith('count.py ended at ')")
    assert page.pixels(4, 4)[0, 0, 0] == 50


def test_a_program_that_is_frozen_is_gone_until_it_goes_on(page, remote):
    program = remote()
    program("import napari_streaming as ns; pub = ns.Publisher('ws://127.0.0.1:0?listen')")
    page.open(program("pub.pages[0]"))
    program.freeze()
    page("viewer.session.heard -= 60")  # so long that it has said nothing
    page.until("document.body.dataset.state == 'gone'")
    program.thaw()
    page.until("document.body.dataset.state == 'open'")


def test_a_connection_that_breaks_is_made_anew_where_it_was(page, publisher):
    program = publisher(URL, history=2**20)
    page.open(program.pages[0])
    for t in range(3):
        program.image("cells", np.full((4, 4), t, np.uint8), at={"t": t}, qos="reliable")
    page.wait_for_items(3)
    page("viewer.session.socket.close()")
    page.until("!viewer.session.isOpen")
    for t in range(3, 6):
        program.image("cells", np.full((4, 4), t, np.uint8), at={"t": t}, qos="reliable")
    page.until("viewer.session.isOpen && viewer.store.axes.axes.get('t').values.length == 6")
    assert page("viewer.session.items") <= 4  # a preview, and what was missed
    assert page("viewer.store.dropped") == 0


def test_all_can_be_reached_by_keyboard_and_has_a_name(page, program):
    page.open(program.pages[0])
    for t in range(2):
        program.image("cells", np.eye(8), at={"t": t})
    program.checkpoint()
    program.parameter("rate", 0.5, min=0, max=1)
    program.button("save")
    page.wait_for_items(2)
    page.until("document.querySelector('.slider') && document.querySelector('#parameters button')")
    page("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    nameless = (
        "[...document.querySelectorAll('button, input, select, [tabindex]')]"
        ".filter((e) => !(e.ariaLabel || e.textContent || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert page(nameless) == []
    y = page("viewer.canvas.camera.y")
    page("document.getElementById('view').focus()")
    page.chromium.press("ArrowDown")
    assert page("viewer.canvas.camera.y") > y
    zoom = page("viewer.canvas.camera.zoom")
    page.chromium.press("+", "NumpadAdd", "+")
    assert page("viewer.canvas.camera.zoom") > zoom
    page.chromium.press("0", "Digit0", "0")
    page.until("!viewer.canvas.camera.isMoved")


def test_tab_goes_through_all_and_shows_where_it_is(page, program):
    page.open(program.pages[0])
    for t in range(3):
        program.image("cells", np.eye(8), at={"t": t})
    program.points("spots", [[1, 1]])
    program.metric("energy", 1.0)
    program.status("info", "hello")
    assert not program.paused  # and it can be steered from now on
    program.parameter("rate", 0.5, min=0, max=1)
    program.parameter("method", "a", choices=["a", "b"])
    program.parameter("fast", True)
    program.parameter("note", "x")
    program.button("save")
    page.wait_for_items(4)
    page.until("document.querySelectorAll('#parameters .field').length == 5")
    page.until("document.querySelector('figure') && document.querySelector('.slider')")
    page.until("document.querySelectorAll('#layer-list li').length == 2")
    page("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wanted = (
        "[...document.querySelectorAll('button, input, select, summary, [tabindex]')]"
        ".filter((e) => e.checkVisibility() && !e.closest('dialog'))"
    )
    page(f"(() => {{ globalThis.reached = []; globalThis.wanted = {wanted}; }})()")
    count = page("wanted.length")
    assert count > 25
    for _ in range(count):
        page.chromium.press("Tab")
        page("reached.push(document.activeElement), undefined")
        ring = "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])"
        where = page("document.activeElement.outerHTML.slice(0, 80)")
        assert page(f"{ring}(getComputedStyle(document.activeElement))") == ["solid", "2px"], where
    assert page("wanted.filter((e) => !reached.includes(e)).map((e) => e.outerHTML)") == []

    page("document.querySelector('[aria-label=rate]').focus()")
    page.chromium.press("ArrowRight")
    page.until("Number(document.querySelector('[aria-label=rate]').value) > 0.5")
    page.chromium.press(" ", "Space", " ")
    assert not program.paused, "a field has its own use for a space"


def test_who_pauses_by_keyboard_can_resume_by_it(page, program, until):
    page.open(program.pages[0])
    assert not program.paused  # and it can be steered from now on
    page.until("!document.getElementById('pause').hidden")
    page("document.getElementById('pause').focus()")
    for paused, button in ((True, "resume"), (False, "pause")):
        page.chromium.press(" ", "Space", " ")
        until(lambda paused=paused: program.paused == paused)
        page.until(f"document.activeElement.id == '{button}'")
    page("document.getElementById('view').focus()")
    page.chromium.press(" ", "Space", " ")
    until(lambda: program.paused)


def test_a_graph_leaves_room_for_its_numbers(page, program):
    page.open(program.pages[0])
    for step in range(50):
        program.metric("energy", 1000.0 if step % 2 else 0.0, step=step)
    page.until("viewer.store.metrics.get('energy')?.values.length == 50")
    page.until("document.querySelector('figure output')?.textContent == '1000'")
    page.until("document.querySelector('figure canvas').width != 300")  # what it has undrawn
    colours = (
        "(() => { const canvas = document.querySelector('figure canvas'); "
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height); "
        "return [canvas.width, Array.from(data)]; })()"
    )
    width, data = page(colours)
    r, _, b, a = np.moveaxis(np.array(data).reshape(-1, width, 4), -1, 0)
    line = (b > r + 60) & (a > 100)
    label = (a > 40) & (np.abs(b - r) < 30)
    assert width == page("document.querySelector('figure canvas').clientWidth")
    assert line.any() and label.any()
    assert np.flatnonzero(label.any(axis=0)).max() < np.flatnonzero(line.any(axis=0)).min()
    assert line[:, -8:].any(), "and goes to the right edge"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
