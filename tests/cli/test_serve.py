"""Where a session is served."""

import pytest

from napari_streaming.cli.serve import _session_url
from napari_streaming.errors import URLError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ws://127.0.0.1:8766", "ws://127.0.0.1:8766/session?listen"),
        ("ws://127.0.0.1:8766/session#tok", "ws://127.0.0.1:8766/session?listen#tok"),
        ("ws://0.0.0.0:8766?insecure", "ws://0.0.0.0:8766/session?listen&insecure"),
        (
            "wss://0.0.0.0:8766?cert=/a.pem&key=/b.pem#tok",
            "wss://0.0.0.0:8766/session?listen&cert=/a.pem&key=/b.pem#tok",
        ),
    ],
)
def test_an_address_may_leave_out_the_path(text, shown):
    assert str(_session_url(text)) == shown


def test_another_scheme_is_refused_with_the_option_named():
    with pytest.raises(URLError, match="--listen"):
        _session_url("tcp://127.0.0.1:5555")
