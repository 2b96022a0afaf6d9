from __future__ import annotations

import urllib.error
import urllib.request

import numpy as np
import pytest

from napari_streaming.uri import parse_url
from napari_streaming.wire.session import view_token


def get(pub, token=None, path="/metrics"):
    url = parse_url(pub.urls[0])
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{url.port}{path}", headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, None, 10) as r:
        return r.headers["Content-Type"], r.read().decode()


@pytest.mark.parametrize("looks_on", [False, True])
def test_counters_are_there_for_who_shows_a_token(publisher, receiver, looks_on):
    pub = publisher("ws://127.0.0.1:0?listen", "memory://other")
    rec = receiver(pub.urls[0])
    pub.image("a", np.ones((30, 40), np.uint16))
    rec.wait_for("a", 10)
    token = parse_url(pub.urls[0]).token
    kind, text = get(pub, view_token(token) if looks_on else token)
    assert kind.startswith("text/plain; version=0.0.4")
    assert "\nnapari_streaming_published_total 1\n" in text and token not in text
    address = pub.stats().sinks[0].url
    assert f'\nnapari_streaming_sink_viewers{{url="{address}"}} 1\n' in text
    assert f'\nnapari_streaming_sink_sent_bytes_total{{url="{address}"}} 2400\n' in text
    assert '\nnapari_streaming_sink_link_bytes_per_second{url="memory://other"} +Inf\n' in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0


@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_nobody_else_sees_them(publisher, token):
    pub = publisher("ws://127.0.0.1:0?listen")
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(pub, token.encode().decode("latin-1") if token else token)
    assert caught.value.code == 401
    caught.value.close()


def test_the_page_for_browsers_is_still_there(publisher):
    pub = publisher("ws://127.0.0.1:0?listen")
    assert "text/html" in get(pub, path="/")[0]
