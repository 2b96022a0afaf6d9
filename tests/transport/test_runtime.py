from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport import runtime
from napari_streaming.uri import parse_url

HERE = parse_url("tcp://127.0.0.1:5555?listen#secret")


def connecting(text="tcp://127.0.0.1:5555"):
    return parse_url(text)


def announce(url=HERE):
    return runtime.announce(url, "view", "napari-streaming/1.2.3")


def files(folder):
    return list((Path(folder) / "napari-streaming").iterdir())


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def forge(folder, **changes):
    """Change what a listing says."""
    (path,) = files(folder)
    listing = msgspec.json.decode(path.read_bytes()) | changes
    path.write_bytes(msgspec.json.encode(listing))


def test_a_listener_is_found_with_its_token_until_it_withdraws(private_runtime):
    announce()
    found = runtime.find_listing(connecting())
    assert (found.url, found.pid) == (str(HERE), os.getpid())
    runtime.withdraw(HERE)
    assert runtime.find_listing(connecting()) is None
    assert files(private_runtime) == []


def test_nobody_else_may_read_it(private_runtime):
    before = os.umask(0)
    try:
        announce()
    finally:
        os.umask(before)
    assert mode(runtime.runtime_folder()) == 0o700
    assert [mode(path) for path in files(private_runtime)] == [0o600]


def test_a_folder_that_others_can_read_is_closed(private_runtime):
    folder = Path(private_runtime) / "napari-streaming"
    folder.mkdir()
    folder.chmod(0o777)
    runtime.runtime_folder()
    assert mode(folder) == 0o700


@pytest.mark.parametrize("what", ["link", "file", "foreign"])
def test_a_folder_that_is_not_ours_is_refused(private_runtime, tmp_path, monkeypatch, what):
    folder = Path(private_runtime) / "napari-streaming"
    if what == "link":
        folder.symlink_to(tmp_path, target_is_directory=True)
    elif what == "file":
        folder.touch()
    else:
        monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(TransportError, match="XDG_RUNTIME_DIR"):
        runtime.runtime_folder()


def test_a_process_that_died_is_no_listener(private_runtime, remote):
    other = remote()
    other("from napari_streaming.transport import runtime")
    other("from napari_streaming.uri import parse_url")
    other(f"runtime.announce(parse_url({str(HERE)!r}), 'view', 'x').pid")
    assert runtime.find_listing(connecting()).pid == other.pid
    other.kill()
    assert runtime.find_listing(connecting()) is None
    runtime.refuse_if_taken(HERE)


def test_a_process_id_that_was_given_to_another_process_is_no_listener(private_runtime):
    announce()
    started = runtime.process_started(os.getpid())
    forge(private_runtime, started=started - 1000)
    assert runtime.find_listing(connecting()) is None
    forge(private_runtime, started=started)
    assert runtime.find_listing(connecting()) is not None


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 2**80, "x"])
def test_nonsense_in_a_listing_is_no_listener(private_runtime, pid):
    announce()
    forge(private_runtime, pid=pid)
    assert runtime.find_listing(connecting()) is None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b'{"url": "http://x"}'])
def test_a_broken_listing_is_no_listener(private_runtime, text):
    announce()
    (path,) = files(private_runtime)
    path.write_bytes(text)
    assert runtime.find_listing(connecting()) is None
    runtime.withdraw(HERE)


def test_a_url_that_is_none_is_no_listener(private_runtime):
    announce()
    forge(private_runtime, url="http://127.0.0.1:5555")
    assert runtime.find_listing(connecting()) is None


@pytest.mark.parametrize(
    ("listening", "asked", "found"),
    [
        ("tcp://127.0.0.1:5555", "tcp://localhost:5555", True),
        ("tcp://*:5555", "tcp://127.0.0.1:5555", True),
        ("tcp://0.0.0.0:5555", "tcp://127.0.0.1:5555", True),
        ("tcp://gpu1:5555", "tcp://gpu1:5555", True),
        ("tcp://127.0.0.1:5555", "tcp://gpu1:5555", False),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556", False),
        ("tcp://*:5555", "tcp://gpu1:5555", False),
        # Nobody of ours listens at the loopback: who does may be another user.
        ("tcp://192.168.7.7:5555", "tcp://127.0.0.1:5555", False),
        ("ipc://a", "ipc://a", True),
        ("ipc://a", "ipc://b", False),
    ],
)
def test_a_token_is_only_for_the_listener_it_belongs_to(private_runtime, listening, asked, found):
    announce(parse_url(listening + "?listen#secret"))
    assert (runtime.find_listing(connecting(asked)) is not None) == found


def test_a_second_listener_is_told_who_is_the_first(private_runtime):
    announce()
    with pytest.raises(AddressInUseError, match=rf"process {os.getpid()}.*another port"):
        runtime.refuse_if_taken(HERE)


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_a_port_is_taken_whatever_is_spoken_there(private_runtime, scheme):
    announce()
    with pytest.raises(AddressInUseError, match=rf"process {os.getpid()}.*another port"):
        runtime.refuse_if_taken(parse_url(f"{scheme}://127.0.0.1:5555?listen"))


def test_only_the_process_that_listens_withdraws(private_runtime):
    announce()
    forge(private_runtime, pid=1)
    runtime.withdraw(HERE)
    assert len(files(private_runtime)) == 1


def test_a_folder_that_cannot_be_written_to_is_an_error_of_ours(private_runtime, monkeypatch):
    runtime.runtime_folder()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(TransportError, match="No space"):
            announce()


def test_host_identity_and_tokens():
    assert runtime.host_identity() == runtime.host_identity()
    assert len({runtime.new_token() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a", "a"), (None, "python"), ("\udcff.py", "?.py"), ("ä" * 300, "ä" * 256)],
)
def test_a_program_is_named_whatever_its_file_is_called(monkeypatch, name, shown):
    monkeypatch.setattr("sys.argv", [""])
    assert runtime.program_name(name) == shown
