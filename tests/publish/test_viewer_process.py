"""Viewers in processes of their own; what listens here is a plain receiver, without napari."""

from __future__ import annotations

import logging
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

import napari_streaming as ns
from napari_streaming.cli.main import app
from napari_streaming.errors import AddressInUseError, URLError, VersionError, ViewerError
from napari_streaming.publish import viewer_launch
from napari_streaming.publish.viewer_process import start_viewer
from napari_streaming.transport import runtime, starting
from napari_streaming.uri import parse_url

PLAIN = """
import signal, sys
how, url = sys.argv[1:]
if how == "fails":
    sys.exit("no luck today")
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else lambda *_: sys.exit())
while how == "hangs":
    signal.pause()
from napari_streaming.receive.receiver import Receiver
from napari_streaming.transport.starting import report_stage
from napari_streaming.uri import parse_url
report_stage(parse_url(url), "program loaded")
with Receiver(url):
    report_stage(parse_url(url), "listening")
    while True:
        signal.pause()
"""

PREPARE = f"""
import sys, time
import napari_streaming as ns
from napari_streaming.publish import viewer_launch
viewer_launch._command = lambda url: [sys.executable, "-c", {PLAIN!r}, "listens", f"{{url}}?listen"]
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Have plain viewers started, one way or the other; end those that are left."""

    def set_up(how):
        monkeypatch.setattr(
            viewer_launch,
            "_command",
            lambda url: [sys.executable, "-c", PLAIN, how, str(replace(url, listen=True))],
        )

    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    set_up("listens")
    yield set_up
    left = {listing.pid for listing in runtime.listings()} - {os.getpid()}
    for path in runtime.runtime_folder().glob("*.starting"):
        left.add(msgspec.json.decode(path.read_bytes())["pid"])
    for pid in left:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def urls():
    """Addresses that nobody uses."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    found = [f"tcp://127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return found


@pytest.fixture
def url(urls):
    return urls[0]


@pytest.fixture
def kill(until):
    def kill_and_wait(pid):
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))

    return kill_and_wait


def is_alive(pid):
    return runtime.process_started(pid) is not None


# ---- start, find, stop -------------------------------------------------------------------


def test_one_starts_it_the_other_finds_it_and_leaves_it_alone(url):
    first, second = ns.Viewer(url), ns.Viewer(url)
    assert not first.is_running and first.pid is None and first.started_in is None
    assert first.start() is first
    assert first.is_running and first.is_ours and first.started_in > 0
    assert second.is_running and second.start().pid == first.pid and not second.is_ours
    assert not second.stop()
    assert first.start().is_ours and is_alive(first.pid)
    pid = first.pid
    assert first.stop()
    assert not is_alive(pid) and not second.is_running and not first.stop()
    assert not list(runtime.runtime_folder().glob("*.json"))


def test_it_takes_what_is_published(url, until):
    with ns.Viewer(url, persistent=False) as viewer, ns.Publisher(viewer.url) as pub:
        pub.metric("a", 1.0)
        assert pub.flush(15)
    assert not viewer.is_running


def test_several_addresses_have_a_viewer_each(urls):
    viewers = [ns.Viewer(url, persistent=False).start() for url in [*urls, "ipc://name"]]
    pids = {viewer.pid for viewer in viewers}
    assert len(pids) == 4 and all(viewer.is_ours for viewer in viewers)
    assert [viewer.stop() for viewer in viewers] == [True] * 4
    assert not any(map(is_alive, pids))


def test_two_programs_at_the_same_moment_start_one_viewer(remote, url):
    programs = [remote() for _ in range(3)]
    for program in programs:
        program(PREPARE)
        program(f"viewer = ns.Viewer({url!r})")
    at = time.time() + 0.5
    for program in programs:
        program.tell(f"time.sleep({at} - time.time()) or viewer.start().pid")
    pids = [program.answer() for program in programs]
    assert len(set(pids)) == 1
    assert sorted(program("viewer.is_ours") for program in programs) == [False, False, True]
    assert sorted(program("viewer.stop()") for program in programs) == [False, False, True]
    assert not is_alive(pids[0])


def test_a_viewer_that_was_killed_is_started_again(url, kill):
    viewer = ns.Viewer(url, persistent=False).start()
    killed = viewer.pid
    kill(killed)
    assert not viewer.is_running
    assert viewer.start().pid != killed and viewer.is_ours


@pytest.mark.parametrize(("persistent", "outlives"), [(True, True), (False, False)])
def test_what_the_end_of_the_program_means(remote, url, persistent, outlives):
    program = remote()
    program(PREPARE)
    pid = program(f"ns.Viewer({url!r}, persistent={persistent}).start().pid")
    program.end()
    assert is_alive(pid) == outlives
    assert ns.Viewer(url).is_running == outlives


def test_the_end_of_a_program_does_not_stop_what_it_found(remote, url):
    viewer = ns.Viewer(url).start()
    program = remote()
    program(PREPARE)
    assert program(f"ns.Viewer({url!r}, persistent=False).start().pid") == viewer.pid
    program.end()
    assert viewer.is_running and viewer.stop()


def test_ctrl_c_is_not_for_the_viewer(url):
    code = f"{PREPARE}\nprint(ns.Viewer({url!r}).start().pid, flush=True)\ntime.sleep(60)"
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with program:
        pid = int(program.stdout.readline())
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(15) == -signal.SIGINT
    assert is_alive(pid) and ns.Viewer(url).pid == pid


def test_one_that_does_not_listen_to_sigterm_is_killed(plain, url):
    plain("stubborn")
    viewer = ns.Viewer(url).start()
    pid = viewer.pid
    assert viewer.stop(timeout=0.2) and not is_alive(pid)


def test_a_forked_process_stops_nothing(url):
    viewer = ns.Viewer(url).start()
    child = os.fork()
    if child == 0:
        os._exit(viewer.stop())
    assert os.waitpid(child, 0)[1] == 0
    assert viewer.is_running and viewer.stop()


# ---- what goes wrong ---------------------------------------------------------------------


def test_one_that_fails_to_start_says_why(plain, url):
    plain("fails")
    viewer = ns.Viewer(url)
    with pytest.raises(ViewerError, match="ended with code 1") as caught:
        viewer.start()
    assert "no luck today" in str(caught.value) and str(viewer.log) in str(caught.value)
    plain("listens")
    assert viewer.start().stop()


def test_one_that_takes_too_long_goes_on_if_it_is_to_last(plain, url):
    plain("hangs")
    viewer = ns.Viewer(url)
    for _ in range(2):
        with pytest.raises(ViewerError, match="process started"):
            viewer.start(timeout=0.1)
    assert starting.stage_of(parse_url(url)) and viewer.is_ours and viewer.stop()
    assert starting.stage_of(parse_url(url)) is None

    brief = ns.Viewer(url, persistent=False)
    with pytest.raises(ViewerError, match="not listen after"):
        brief.start(timeout=0.1)
    assert starting.stage_of(parse_url(url)) is None and not brief.is_ours


def test_a_viewer_that_ends_later_is_in_the_log(url, kill, caplog, until):
    viewer = ns.Viewer(url).start()
    kill(viewer.pid)
    until(lambda: "ended with code -9" in caplog.text)


def test_without_a_screen_the_error_comes_at_once(url, monkeypatch, caplog):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ViewerError, match="xvfb-run"):
        ns.Viewer(url).start(timeout=1e9)
    with ns.Publisher(url, spawn=True) as pub:
        pub.metric("a", 1.0)
        pub.close(0)
    assert caplog.text.count("there is no screen") == 1


@pytest.mark.parametrize(
    "wrong",
    ["tcp://127.0.0.1:5555?listen", "tcp://gpu1:5555#a", "memory://a", "tcp://127.0.0.1:5555#a"],
)
def test_a_url_where_no_viewer_can_be_started_is_refused(wrong):
    with pytest.raises(URLError) as caught:
        ns.Viewer(wrong)
    assert "#a" not in str(caught.value)
    with pytest.raises(URLError):
        start_viewer(parse_url(wrong))


def test_whether_it_lasts_is_said_with_true_or_false(url):
    with pytest.raises(ViewerError, match="persistent=3: use True or False"):
        ns.Viewer(url, persistent=3)


def test_a_port_of_another_program_is_left_to_it(remote, url, caplog):
    other = remote()
    other("import socket")
    port = int(url.rpartition(":")[2])
    other(f"server = socket.create_server(('127.0.0.1', {port}))")
    with pytest.raises(AddressInUseError, match=rf"python.* \(process {other.pid}\)"):
        ns.Viewer(url).start()
    with ns.Publisher(url, spawn=True) as pub:
        pub.close(0)
    assert f"(process {other.pid})" in caplog.text and is_alive(other.pid)
    other("server.close()")
    assert ns.Viewer(url).start().stop()


def test_a_publisher_is_no_viewer(url):
    with ns.Publisher(url + "?listen"):
        viewer = ns.Viewer(url)
        assert not viewer.is_running
        with pytest.raises(AddressInUseError, match="publisher"):
            viewer.start()


def forge(**changes):
    (path,) = runtime.runtime_folder().glob("*.json")
    listing = msgspec.json.decode(path.read_bytes()) | changes
    path.write_bytes(msgspec.json.encode(listing))


def test_a_viewer_of_another_protocol_is_named_and_left_alone(url):
    viewer = ns.Viewer(url).start()
    forge(protocol=99, software="napari-streaming/9.9")
    with pytest.raises(VersionError) as caught:
        ns.Viewer(url).start()
    for part in ("napari-streaming/9.9", viewer_launch.software(), "version 99", "version 1"):
        assert part in str(caught.value)
    assert is_alive(viewer.pid) and viewer.stop()


def test_a_viewer_of_another_release_will_do(url, caplog):
    viewer = ns.Viewer(url).start()
    forge(software="napari-streaming/9.9")
    assert ns.Viewer(url).start().is_running
    assert "napari-streaming/9.9" in caplog.text and viewer.stop()


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"started": 1.0}])
def test_what_a_dead_viewer_left_is_swept_away(url, kill, changes):
    viewer = ns.Viewer(url).start()
    kill(viewer.pid)
    runtime.announce(parse_url(url + "?listen"), "view", "x")
    forge(**changes)
    starting.note_starting(parse_url(url), os.getpid())
    (path,) = runtime.runtime_folder().glob("*.starting")
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))
    assert not viewer.is_running
    assert viewer.start().is_ours
    assert len(runtime.listings()) == 1 and viewer.stop()


# ---- what is shown -----------------------------------------------------------------------


def test_a_terminal_shows_how_far_it_is(url):
    ours, theirs = pty.openpty()
    code = f"{PREPARE}\nns.Viewer({url!r}, persistent=False).start()"
    program = subprocess.Popen([sys.executable, "-c", code], stderr=theirs)
    os.close(theirs)
    shown = b""
    while program.poll() is None or select.select([ours], [], [], 0)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # its end, on Linux
            break
    os.close(ours)
    assert program.wait(15) == 0
    assert "starting napari viewer …" in shown.decode() and b"process started" in shown


def test_elsewhere_nothing_is_printed(remote, url, capfd):
    program = remote()
    program(PREPARE)
    program(f"ns.Viewer({url!r}, persistent=False).start().stop()")
    program.end()
    assert capfd.readouterr() == ("", "")


def test_the_stages_can_be_followed(url):
    address = parse_url(url)
    starting.note_starting(address, os.getpid())
    for stage in starting.STAGES[:-1]:
        starting.report_stage(address, stage)
        assert starting.stage_of(address) == stage
    starting.report_stage(address, "listening")
    assert starting.stage_of(address) is None


def test_nobody_reports_for_somebody_else(remote, url):
    address = parse_url(url)
    starting.note_starting(address, remote().pid)
    starting.report_stage(address, "window shown")
    assert starting.stage_of(address) == "process started"


def test_the_command_lists_viewers_without_their_tokens(url, caplog):
    caplog.set_level(logging.INFO)
    assert "no viewer listens" in CliRunner().invoke(app, ["viewers"]).stdout
    viewer = ns.Viewer(url).start()
    with ns.Publisher("tcp://127.0.0.1:0?listen"):
        (line,) = CliRunner().invoke(app, ["viewers"]).stdout.splitlines()
    assert line.startswith(f"{url}  process {viewer.pid}  since 20") and "#" not in line
    assert viewer.stop() and f"{url}: viewer started" in caplog.text
