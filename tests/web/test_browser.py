"""The browser viewer in a real Chromium: what a program published is what the screen shows."""

from __future__ import annotations

import colorsys
import http.server
import threading

import numpy as np
import pytest

from napari_streaming.uri import parse_url

URL = "ws://127.0.0.1:0?listen"
GEOMETRY = (
    "(({ top, left }) => { const [y, x] = viewer.canvas.camera.onCanvas(0, 0); "
    "return [top + y, left + x, viewer.canvas.camera.zoom]; })"
    "(document.getElementById('view').getBoundingClientRect())"
)


@pytest.fixture
def program(publisher):
    return publisher(URL)


def grey(plane, low, high):
    """Return the colours that a plane has between two contrast limits."""
    share = np.clip((plane.astype(float) - low) / (high - low), 0, 1)
    return np.repeat(np.round(255 * share)[..., None], 3, axis=2)


def label_colours(labels):
    """Return the colours of labels, of 70 % on black: the formula of the page once more."""
    colours = np.zeros((*labels.shape, 3))
    for label in np.unique(labels[labels != 0]):
        spread = (int(label) * 2654435769) % 2**32
        value = 1 - 0.3 * ((spread >> 4) & 3) / 3
        hue = np.array(colorsys.hsv_to_rgb((spread >> 8) / 2**24, 1, 1))
        colours[labels == label] = 0.7 * 255 * value * (0.25 + 0.75 * hue)
    return colours


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("u1", 0, 255), ("u2", 300, 40000), ("i2", -900, 800), ("u4", 0, 70000), ("i8", -5, 900),
     ("f2", -1, 1), ("f4", -0.5, 0.5), ("f8", 0, 1e4), ("?", 0, 1)],
)  # fmt: skip
def test_every_pixel_has_its_grey(page, program, dtype, low, high):
    ramp = np.linspace(low, high, 12 * 16).reshape(12, 16)
    plane = (ramp > 0.5) if dtype == "?" else ramp.astype(dtype)
    page.open(program.pages[0])
    program.image("ramp", plane, contrast_limits=(low, high))
    page.wait_for_items(1)
    assert np.abs(page.pixels(12, 16) - grey(plane, low, high)).max() <= 1


def test_colours_of_an_image_are_its_own(page, program):
    plane = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    page.open(program.pages[0])
    program.image("tissue", plane)
    page.wait_for_items(1)
    assert np.abs(page.pixels(9, 11) - plane).max() <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "u8"])
def test_labels_have_colours_of_their_numbers(page, program, dtype):
    most = min(np.iinfo(dtype).max, 2**31 - 1)
    labels = np.r_[0:60, [most, most - 1, 0, 0]].reshape(8, 8).astype(dtype)
    page.open(program.pages[0])
    program.labels("cells", labels)
    page.wait_for_items(1)
    found = page.pixels(8, 8)
    assert np.abs(found - label_colours(labels)).max() <= 2  # the screen rounds twice
    assert (found[labels == 0] == 0).all()


def test_what_is_missing_is_see_through(page, program):
    plane = np.array([[0, np.nan], [1, np.inf]], np.float32)
    page.open(program.pages[0])
    program.image("base", np.full((2, 2), 255, np.uint8), contrast_limits=(0, 255))
    program.image("top", plane, contrast_limits=(0, 1), colormap="gray")
    page.wait_for_items(2)
    page("[...viewer.store.layers.values()][1].blending = 'translucent', viewer.canvas.ask()")
    assert page.pixels(2, 2)[..., 0].tolist() == [[0, 255], [255, 255]]


def test_layers_add_up_and_have_colormaps(page, program):
    plane = np.full((4, 4), 100, np.uint8)
    page.open(program.pages[0])
    for name in ("red", "green"):
        program.image(name, plane, contrast_limits=(0, 200), colormap=name)
    page.wait_for_items(2)
    assert page.pixels(4, 4)[0, 0].tolist() == [128, 128, 0]
    page("document.querySelector('#layer-list input[type=checkbox]').click()")  # the one on top
    assert page.pixels(4, 4)[0, 0].tolist() == [128, 0, 0]


def test_contrast_follows_the_data_until_it_is_set(page, program):
    page.open(program.pages[0])
    program.image("camera", np.array([[100, 200], [300, 400]], np.uint16))
    page.wait_for_items(1)
    assert page.pixels(2, 2)[..., 0].tolist() == [[0, 85], [170, 255]]
    page("document.querySelector('#layer-list details').open = true")
    page(
        "(() => { const input = document.querySelector('[aria-label=\"brightest of camera\"]'); "
        "input.value = 250; input.dispatchEvent(new Event('input')); })()"
    )
    assert page.pixels(2, 2)[0].tolist() == [[0] * 3, [170] * 3]


def test_sliders_go_through_what_came(page, program):
    page.open(program.pages[0])
    for well in ("B1", "A1"):
        for t in (2, 0, 1):
            value = {"B1": 10, "A1": 100}[well] + t
            plane = np.full((4, 4), value, np.uint8)
            program.image("cells", plane, at={"well": well, "t": t}, contrast_limits=(0, 255))
    page.wait_for_items(6)
    page.until("document.querySelectorAll('.slider').length == 2")
    assert page.pixels(4, 4)[0, 0, 0] == 101  # the newest

    def stand(name, index):
        page(
            f"(() => {{ const slider = document.querySelector('.slider [aria-label={name}]'); "
            f"slider.value = {index}; slider.dispatchEvent(new Event('input')); }})()"
        )
        return page.pixels(4, 4)[0, 0, 0]

    assert [stand("t", i) for i in range(3)] == [100, 101, 102]
    assert stand("well", 1) == 12  # B1, which lies behind A1 on its plate
    program.image("cells", np.full((4, 4), 200, np.uint8), at={"well": "A1", "t": 9})
    page.wait_for_items(7)
    assert page.pixels(4, 4)[0, 0, 0] == 12  # who looks at something is left alone
    page.chromium.press("Home")
    assert page.pixels(4, 4)[0, 0, 0] == 200


def test_a_volume_has_a_slider(page, program):
    volume = np.arange(5, dtype=np.uint8)[:, None, None] * np.full((5, 6, 6), 20, np.uint8)
    page.open(program.pages[0])
    program.image("stack", volume, axes=("z", "y", "x"), contrast_limits=(0, 255), scale=(2, 1, 1))
    page.wait_for_items(1)
    page.until("document.querySelectorAll('.slider').length == 1")
    page("document.querySelector('.slider input').focus()")
    assert page.pixels(4, 4)[0, 0, 0] == 0
    page.chromium.press("ArrowRight")
    page.chromium.press("ArrowRight")
    assert page.pixels(4, 4)[0, 0, 0] == 40
    assert "4 · 3/5" in page.text(".slider output")


def test_planes_come_together_or_in_parts(page, program):
    page.open(program.pages[0])
    both = np.stack([np.full((4, 6), 50, np.uint8), np.full((4, 6), 60, np.uint8)])
    program.image("a", both, at={"z": [0, 1]}, contrast_limits=(0, 255))
    program.image(
        "a", np.full((2, 3), 99, np.uint8), at={"z": 1}, offset=(1, 2), plane_shape=(4, 6)
    )
    page.wait_for_items(2)
    expected = both[1].copy()
    expected[1:3, 2:5] = 99
    assert (page.pixels(4, 6)[..., 0] == expected).all()


def test_points_and_shapes_are_drawn_where_they_are(page, program):
    page.open(program.pages[0])
    program.image("dark", np.zeros((100, 100), np.uint8), contrast_limits=(0, 1))
    program.points("spots", [[20, 30]])
    program.shapes("boxes", [[[60, 60], [60, 80], [80, 80], [80, 60]]], shape_type="rectangle")
    page.wait_for_items(3)
    found = page.pixels(100, 100).sum(axis=2) > 60
    assert found[20, 30] and not found[20, 40] and found[18:23, 28:33].all()
    assert found[60, 65:75].all() and found[65:75, 80].all() and not found[65:75, 65:75].any()


def test_vectors_tracks_and_outlines_are_lines(page, program):
    page.open(program.pages[0])
    dark = np.zeros((100, 100), np.uint8)
    program.image("dark", dark, at={"t": 2}, contrast_limits=(0, 1))
    program.vectors("flow", [[[10, 10], [0, 30]]])
    track = [[1, 0, 30, 10], [1, 1, 30, 30], [1, 2, 40, 30], [1, 3, 60, 30]]
    program.tracks("paths", track, axes=("t", "y", "x"))
    program.shapes("way", [[[60, 60], [60, 80], [80, 80]]], shape_type="path")
    program.shapes("ring", [[[20, 60], [20, 80], [40, 80], [40, 60]]], shape_type="ellipse")
    page.wait_for_items(5)
    found = page.pixels(100, 100).sum(axis=2) > 60
    assert found[10, 12:38].all() and not found[10, 44:].any()
    assert found[30, 12:28].all() and found[32:39, 30].all() and not found[45:, 30].any()
    assert found[60, 62:78].all() and found[62:78, 80].all()
    assert not found[70, 65:75].any(), "a path is open"
    assert found[20, 70] and found[30, 60] and not found[20, 60], "an ellipse is round"


def test_lines_are_shown_where_the_sliders_stand(page, program):
    page.open(program.pages[0])
    program.image("dark", np.zeros((50, 50), np.uint8), at={"z": 4}, contrast_limits=(0, 1))
    about = {"axes": ("z", "y", "x")}
    program.vectors("flow", [[[1, 10, 5], [0, 0, 30]], [[4, 20, 5], [0, 0, 30]]], **about)
    boxes = [[[z, y, 5], [z, y, 35]] for z, y in ((1, 30), (4, 40))]
    program.shapes("bars", boxes, shape_type="line", **about)
    page.wait_for_items(3)
    found = page.pixels(50, 50)[:, 20].sum(axis=1) > 60
    assert np.flatnonzero(found[[10, 20, 30, 40]]).tolist() == [1, 3]


def test_all_of_a_field_of_vectors_is_shown_and_no_more(page, program):
    page.open(program.pages[0])
    program.vectors("flow", [[[1000, 1000], [0, 30]], [[1030, 1000], [0, 30]]])
    page.wait_for_items(1)
    page.until("viewer.canvas.camera.y == 1015 && viewer.canvas.camera.x == 1015")


def test_a_surface_is_listed_and_said_not_to_be_drawn(page, program):
    page.open(program.pages[0])
    program.surface("hull", [[0, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 1, 2]])
    page.wait_for_items(1)
    page.until("document.querySelector('#layer-list li')")
    assert page("document.querySelector('#layer-list li').innerText.split('\\n').at(-1)") == (
        "The browser draws no surfaces; napari does."
    )
    assert page("document.querySelector('#layer-list li > input').disabled")
    assert page.text("#empty") == "What came is only drawn in napari."
    assert not page("document.getElementById('empty').hidden")


def test_points_stand_at_their_own_coordinates(page, program):
    page.open(program.pages[0])
    program.image("dark", np.zeros((50, 50), np.uint8), at={"t": 1}, contrast_limits=(0, 1))
    program.points("spots", [[0, 10, 10], [1, 40, 40]], axes=("t", "y", "x"))
    page.wait_for_items(2)
    found = page.pixels(50, 50).sum(axis=2) > 60
    assert found[40, 40] and not found[10, 10]


def test_a_wrong_token_is_asked_for_again(page, program):
    token = parse_url(program.urls[0]).token
    page.chromium.go(program.pages[0].replace(token, "wrong"))
    page.until("document.getElementById('token-dialog').open")
    page(f"document.getElementById('token').value = {program.urls[0]!r}")
    page("document.querySelector('#token-form button').click()")
    page.until("viewer.session.isOpen && !document.getElementById('token-dialog').open")
    assert token in page("location.hash")


def test_pages_of_others_are_refused(page, program):
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    there = parse_url(program.urls[0])
    knock = (
        "new Promise((done) => { "
        f"const socket = new WebSocket('ws://127.0.0.1:{there.port}/'); "
        "socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })"
    )
    page.open(program.pages[0])
    assert page.chromium.run(knock) == "open"
    # A browser opens connections ahead, on which one that serves one at a time would wait.
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.chromium.go(f"http://127.0.0.1:{server.server_port}/")
        page.chromium.until(f"location.port == {server.server_port}")
        assert page.chromium.run(knock) == "refused"
        server.shutdown()


def test_wells_lie_as_on_their_plate(page, publisher):
    program = publisher(URL, history=2**20)
    page.open(program.pages[0])
    for well in ("B01", "A10", "A02", "AA1"):
        program.image("cells", np.zeros((4, 4), np.uint8), at={"well": well, "t": 0})
        program.image("cells", np.zeros((4, 4), np.uint8), at={"well": well, "site": "mock"})
    program.image("cells", np.zeros((4, 4), np.uint8), at={"site": "A01"})
    page.wait_for_items(9)
    values = "viewer.store.axes.axes.get('{}').values.join()"
    page.until(f"{values.format('well')} == 'A02,A10,B01,AA1'")
    page.until(f"{values.format('site')} == 'mock,A01'")


def test_a_phone_shows_all_in_one_column(page, program):
    page.chromium.resize(390, 844, phone=True)
    page.open(program.pages[0])
    program.image("a rather long name of a layer, which has to be cut", np.eye(8), at={"t": 0})
    program.image("a rather long name of a layer, which has to be cut", np.eye(8), at={"t": 1})
    program.parameter("a parameter with a long name", 0.5, min=0, max=1)
    program.status("info", "a" * 300)
    page.wait_for_items(2)
    page.until("document.querySelector('.slider') && document.querySelector('#log li')")
    assert page("document.documentElement.scrollWidth") == 390
    narrow = "[...document.querySelectorAll('button, input, select')].filter((e) => e.offsetParent)"
    assert page(f"{narrow}.every((e) => e.getBoundingClientRect().right <= 390)")


def test_the_mouse_moves_and_zooms(page, program):
    page.open(program.pages[0])
    program.image("cells", np.zeros((100, 100), np.uint8), contrast_limits=(0, 1))
    page.wait_for_items(1)
    y, x, zoom = page("[viewer.canvas.camera.y, viewer.canvas.camera.x, viewer.canvas.camera.zoom]")

    def mouse(kind, left, top, **more):
        page.chromium.call("Input.dispatchMouseEvent", type=kind, x=left, y=top, **more)

    mouse("mousePressed", 300, 300, button="left")
    mouse("mouseMoved", 330, 310, button="left")
    mouse("mouseReleased", 330, 310, button="left")
    moved = page("[viewer.canvas.camera.y, viewer.canvas.camera.x]")
    assert np.allclose(moved, [y - 10 / zoom, x - 30 / zoom])
    mouse("mouseMoved", 200, 200)
    under = "viewer.canvas.camera.inWorld(200 - document.getElementById('view').offsetTop, 200)"
    before = page(under)
    mouse("mouseWheel", 200, 200, deltaX=0, deltaY=-300)
    page.until(f"viewer.canvas.camera.zoom > 1.3 * {zoom}")
    assert np.allclose(page(under), before)
    mouse("mouseMoved", 330, 310)
    page.until("document.getElementById('readout').textContent.includes('cells 0')")


def test_metrics_and_lines_of_the_past_come_once(page, program):
    """A page that comes late has them all, and has none twice when its connection breaks."""

    def run(turn):
        for step in range(20 * turn, 20 * turn + 20):
            program.metric("energy", step, step)
            program.status("info", f"step {step}")

    run(0)
    page.open(program.pages[0])
    page.until("viewer.store.metrics.get('energy')?.values.length === 20")
    page.until("document.getElementById('log').textContent.includes('step 19')")
    for turn in (1, 2, 3):
        run(turn)
        page("viewer.session.socket.close()")
        page.until("!viewer.session.isOpen")
        page.until("viewer.session.isOpen")
    page.until("viewer.store.metrics.get('energy').values.at(-1) === 79")
    assert page("viewer.store.metrics.get('energy').values") == list(range(80))
    assert page("viewer.store.metrics.get('energy').steps") == list(range(80))
    page.until("viewer.store.log.at(-1).text === 'step 79'")
    assert page("viewer.store.log.map((line) => line.text)") == [f"step {n}" for n in range(80)]
    page("viewer.session.socket.close()")
    page.until("!viewer.session.isOpen")
    page.until("viewer.session.isOpen")
    program.status("info", "step 80")
    page.until("viewer.store.log.at(-1).text === 'step 80'")
    assert page("viewer.session.messages") == 1, "what is here was not sent again"


def test_values_and_lines_that_come_again_are_told_by_their_numbers(page, program):
    page.open(program.pages[0])
    columns = "{ name: 'm', steps: [1, 2, 3, 4], values: [1, 2, 3, 4], times: [0, 0, 0, 0] }"
    fresh = f"((about) => viewer.session.newValues({{ ...{columns}, ...about }}).values)"
    assert page(f"{fresh}({{ first: 1, every: 2 }})") == [1, 2, 3, 4]  # up to number 7
    assert page(f"{fresh}({{ first: 7 }})") == [2, 3, 4]  # up to 10
    assert page(f"{fresh}({{ first: 4, every: 3 }})") == [4]  # up to 13
    assert page(f"{fresh}({{ first: 2, every: 3 }})") == []
    assert page(f"{fresh}({{ first: 20 }})") == [1, 2, 3, 4]
    assert page(f"{fresh}({{}})") == [1, 2, 3, 4]
    assert page("[1, 3, 2, 3, 0, 4, 0].map((number) => viewer.session.isOldLine({ number }))") == [
        False, False, True, True, False, False, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "shape", "more"),
    [("|u1", [4, 4], ""), ("<u2", [4, 5], ""), ("<u2", [2, 4, 4], ""), ("<u2", [16], ""),
     ("<u2", [2, 4, 4], "along: { z: [1, 2, 3] }"), ("<u2", [4, 4], "offset: [1, 0]")],
)  # fmt: skip
def test_an_item_that_does_not_match_is_complained_about(page, program, dtype, shape, more):
    page.open(program.pages[0])
    program.image("cells", np.zeros((4, 4), np.uint16))
    page.wait_for_items(1)
    item = (
        f"{{ type: 'item', stream: 0, sequence: 7, time: 0, at: {{}}, {more + ',' if more else ''}"
        f"arrays: [{{ name: 'data', dtype: '{dtype}', shape: {shape}, nbytes: 0, data: [] }}] }}"
    )
    assert page(f"viewer.store.take({item}, 0, 0)").startswith("cells, item 7: ")
    assert page("viewer.store.order.size") == 1


def test_planes_take_bounded_memory(page, program):
    page.open(program.pages[0])
    page("viewer.store.budget = 40000")
    for t in range(20):
        program.image("cells", np.full((100, 100), t, np.uint8), at={"t": t})
    page.wait_for_items(20)
    assert page("viewer.store.held") <= 40000
    assert page("viewer.store.order.size") == 4
    assert page("viewer.store.axes.position.get('t')") == 19


PIECE = "[...[...viewer.store.layers.values()][0].pieces.values()].at(-1)"


def test_planes_come_as_large_as_they_are_shown(page, program, until):
    rows, columns = np.ogrid[:2500, :1300]
    plane = (rows * 200 // 2500 + columns * 50 // 1300).astype(np.uint8)
    page.open(program.pages[0])
    program.image("large", plane, contrast_limits=(0, 255))
    page.wait_for_items(1)
    side = page("viewer.session.side")
    height, width = page("[viewer.canvas.view.clientHeight, viewer.canvas.view.clientWidth]")
    assert side / 2 < max(height, width) <= side
    step = -(-2500 // side)
    assert page(f"{PIECE}.step") == step > 1
    small = plane[::step, ::step]
    assert program.stats().sinks[0].tally.bytes == small.size
    # It is shown where all of it would be: to a pixel of the screen, in a smooth picture.
    top, left, zoom = page(GEOMETRY)
    assert np.isclose(2500 * zoom, height, atol=2)
    rows, columns = np.arange(20, 2500, 50), np.arange(20, 1300, 26)
    y, x = (np.round(start + zoom * n).astype(int) for start, n in ((top, rows), (left, columns)))
    seen = page.screen()[np.ix_(y, x)][..., 0].astype(int)
    assert np.abs(seen - plane[np.ix_(rows, columns)]).max() <= 2
    # Who zooms in sees all of it, and what comes then is as fine.
    page("viewer.canvas.camera.zoomAt(16, 300, 200)")
    page.until(f"{PIECE}.step === 1")
    until(lambda: program.stats().sinks[0].tally.bytes == small.size + plane.size)
    program.image("large", plane[::-1].copy(), contrast_limits=(0, 255))
    page.until(f"{PIECE}.step === 1 && {PIECE}.arrived === 2")
    page("viewer.canvas.camera.refit()")
    page.until(f"viewer.session.side === {side}")


def test_tiles_of_a_large_plane_fit_together(page, program):
    plane = np.zeros((3000, 3000), np.uint8)
    plane[1200:2000, 700:2500] = 200
    page.open(program.pages[0])
    for y in range(0, 3000, 500):
        for x in range(0, 3000, 750):
            tile = plane[y : y + 500, x : x + 750]
            program.image(
                "mosaic", tile, offset=(y, x), plane_shape=plane.shape, contrast_limits=(0, 255)
            )
    page.wait_for_items(24)
    assert program.stats().sinks[0].tally.bytes < plane.size / 4
    data = f"{PIECE}.data"
    assert page(f"{data}.length") == plane.size
    step = -(-3000 // page("viewer.session.side"))
    wanted = np.repeat(np.repeat(plane[::step, ::step], step, 0), step, 1)[:3000, :3000]
    sums = page(
        f"Array.from({{length: 3000}}, (_, y) => {data}.slice(3000*y, 3000*y+3000)"
        ".reduce((sum, value) => sum + value, 0))"
    )
    assert sums == wanted.sum(1, dtype=int).tolist()
