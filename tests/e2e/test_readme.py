"""The script in the README runs as it stands there."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from napari_streaming.transport.runtime import find_listing
from napari_streaming.uri import parse_url

pytestmark = pytest.mark.napari
README = Path(__file__).parents[2] / "README.md"


def test_the_ten_lines_start_a_viewer_and_fill_it(run):
    (script, *_) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    assert "tcp://127.0.0.1:5555" in script
    # The viewer takes seconds to start; the script itself would not wait for it.
    script = script.replace("tcp://127.0.0.1:5555", url)
    script += "    assert pub.flush(60), pub.stats()\n    print(pub.stats())\n"
    try:
        process = run(script)
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 0, output
        assert "published=200, sent=200, dropped=0" in output
    finally:
        listing = find_listing(parse_url(url))
        if listing is not None:
            os.kill(listing.pid, signal.SIGKILL)
