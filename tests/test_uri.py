from __future__ import annotations

import platform

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import StreamingError, URLError
from napari_streaming.uri import (
    DEFAULT_URL,
    SCHEMES,
    StreamURL,
    is_session_url,
    parse_session_url,
    parse_url,
)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tcp://127.0.0.1:5555", StreamURL("tcp", "127.0.0.1", 5555)),
        ("  tcp://127.0.0.1:5555/ \n", StreamURL("tcp", "127.0.0.1", 5555)),
        ("tcp://127.0.0.1:0?listen", StreamURL("tcp", "127.0.0.1", 0, listen=True)),
        ("tcp://*:5555?listen", StreamURL("tcp", "*", 5555, listen=True)),
        ("tcp://GPU1:5555#6c1b", StreamURL("tcp", "gpu1", 5555).with_token("6c1b")),
        ("tcp://[::1]:5555", StreamURL("tcp", "::1", 5555)),
        (
            "tcp://h:1?curve&listen#a#b%20c",
            StreamURL("tcp", "h", 1, listen=True, curve=True).with_token("a#b c"),
        ),
        ("ws://127.0.0.1:8765?listen", StreamURL("ws", "127.0.0.1", 8765, listen=True)),
        ("ws://h:1/?insecure#t", StreamURL("ws", "h", 1, insecure=True).with_token("t")),
        (
            "wss://h:1?listen&cert=/a%20b/c.pem&key=k.pem",
            StreamURL("wss", "h", 1, listen=True, cert="/a b/c.pem", key="k.pem"),
        ),
        ("ipc://Session?listen", StreamURL("ipc", path="Session", listen=True)),
        ("ipc:///run/a%20b#t", StreamURL("ipc", path="/run/a b").with_token("t")),
        ("memory://a/b", StreamURL("memory", path="a/b")),
        (
            "openhcs+tcp://127.0.0.1:5555?listen&pickle",
            StreamURL("openhcs+tcp", "127.0.0.1", 5555, listen=True, pickle=True),
        ),
        (
            "openhcs+tcp://10.0.0.1:5555?insecure&listen",
            StreamURL("openhcs+tcp", "10.0.0.1", 5555, listen=True, insecure=True),
        ),
        (
            "atoplace+ws://gpu1:8765?insecure",
            StreamURL("atoplace+ws", "gpu1", 8765, insecure=True),
        ),
        (
            "openhcs+ipc://5555?listen",
            StreamURL("openhcs+ipc", port=5555, path="5555", listen=True),
        ),
        (
            "openhcs+ipc:///run/polystore-zmq-7777.sock?listen",
            StreamURL("openhcs+ipc", port=7777, path="/run/polystore-zmq-7777.sock", listen=True),
        ),
    ],
)
def test_what_a_url_means(text, parsed):
    assert parse_url(text) == parsed


def test_by_default_one_listens_on_this_machine_only():
    url = parse_url(DEFAULT_URL)
    assert (url.listen, url.is_local, url.encrypted) == (True, True, False)


@pytest.mark.parametrize("text", ["tcp://h:1#t", "tcp://h:1?listen#t"])
def test_the_caller_may_decide_who_listens(text):
    assert parse_url(text, listen=True) == parse_url("tcp://h:1?listen#t")
    assert parse_url(text, listen=False) == parse_url("tcp://h:1#t")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "starts with one of tcp://, ws://, wss://, ipc://, memory://"),
        ("127.0.0.1:5555", "starts with one of"),
        ("http://127.0.0.1:5555", "starts with one of"),
        ("TCP://127.0.0.1:5555", "starts with one of"),
        ("tcp://127.0.0.1", "host and port are needed"),
        ("tcp://:5555", "host and port are needed"),
        ("tcp://", "host and port are needed"),
        ("tcp://127.0.0.1:port", DEFAULT_URL),
        ("tcp://127.0.0.1:65536", DEFAULT_URL),
        ("tcp://[::1:5555", DEFAULT_URL),
        ("tcp://127.0.0.1:0", "port 0"),
        ("tcp://127.0.0.1:5555/data", "no path"),
        ("tcp://127.0.0.1:5555?Listen", "'Listen'"),
        ("tcp://127.0.0.1:5555?listen=0", "'listen=0'"),
        ("tcp://127.0.0.1:5555?listen&hwm=3", "'hwm=3'"),
        ("ws://127.0.0.1", "host and port are needed"),
        ("ws://127.0.0.1:1/stream", "a ws URL has no path"),
        ("ws://127.0.0.1:1?token=secret", "'token=secret'"),
        ("ws://127.0.0.1:1?cert=c.pem", "for wss"),
        ("tcp://127.0.0.1:1?key=k.pem", "for wss"),
        ("wss://127.0.0.1:1?cert", "'cert'"),
        ("ws://127.0.0.1:1?curve", "write wss://"),
        ("tcp://127.0.0.1:1?insecure", "for ws and wss"),
        ("ipc://", "a name is needed"),
        ("ipc://?listen", "a name is needed"),
        ("memory://", "memory://session"),
        ("ipc://session?curve", "?curve is for tcp"),
        ("memory://session?curve", "?curve is for tcp"),
        ("ipc://some/path", "ipc:///absolute/path"),
        ("tcp://127.0.0.1:5555?pickle", "?pickle is for openhcs+tcp and openhcs+ipc"),
        ("openhcs+tcp://127.0.0.1:5555?curve", "?curve is for tcp"),
        ("openhcs+tcp://127.0.0.1", "like openhcs+tcp://127.0.0.1:5555?listen"),
        ("openhcs+tcp://127.0.0.1:64536?listen", "from 1 to 64535"),
        ("openhcs+ipc://0?listen", "from 1 to 64535"),
        ("openhcs+ipc://session", "write openhcs+ipc://5555"),
        ("openhcs+ipc://run/x-5.sock", "openhcs+ipc:///absolute/path"),
        ("openhcs+ipc:///run/session.sock", "/path/to/socket-5555.sock"),
        ("openhcs+tcp://0.0.0.0:5555?listen", "neither tokens nor encryption"),
        ("openhcs+tcp://gpu1:5555?listen&insecure&pickle", "this machine only"),
        ("openhcs+http://127.0.0.1:5555", "starts with one of"),
        ("atoplace+ws://127.0.0.1:8765?listen", "?listen is for tcp"),
        ("atoplace+ws://gpu1:8765", "neither tokens nor encryption"),
    ],
)
def test_a_wrong_url_says_what_to_write_instead(text, hint):
    with pytest.raises(URLError) as caught:
        parse_url(text)
    assert hint in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_dialect_has_no_token():
    with pytest.raises(URLError, match="no token") as caught:
        parse_url("openhcs+tcp://127.0.0.1:5555?listen#s3cret")
    assert "s3cret" not in str(caught.value)


def test_a_dialect_is_not_encrypted_and_not_published_to():
    url = parse_url("openhcs+tcp://gpu1:5555?listen&insecure")
    assert (url.dialect, url.carrier, url.encrypted) == ("openhcs", "tcp", False)
    with pytest.raises(URLError, match="the dialect of openhcs is for viewers"):
        url.to_publish()
    ours = parse_url("tcp://gpu1:5555")
    assert (ours.dialect, ours.carrier, ours.to_publish()) == ("", "tcp", ours)


@pytest.mark.parametrize("text", ["http://h:1#s3cret", "tcp://h:x#s3cret", "tcp://h:1?z#s3cret"])
def test_an_error_keeps_the_token_to_itself(text):
    with pytest.raises(URLError) as caught:
        parse_url(text)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_url_is_a_wrong_value():
    assert issubclass(URLError, ValueError)
    assert issubclass(URLError, StreamingError)


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.8.8:1", True),
        ("tcp://localhost:1", True),
        ("tcp://LOCALHOST:1", True),
        ("tcp://[::1]:1", True),
        ("ipc://name", True),
        ("memory://name", True),
        ("tcp://0.0.0.0:1", False),
        ("tcp://*:1", False),
        ("tcp://[::]:1", False),
        ("tcp://192.168.0.1:1", False),
        ("tcp://gpu1:1", False),
        ("tcp://127.0.0.1.example.org:1", False),
        ("tcp://localhost.example.org:1", False),
    ],
)
def test_what_leaves_this_machine_is_encrypted(text, is_local):
    url = parse_url(text)
    assert (url.is_local, url.encrypted) == (is_local, not is_local)


@pytest.mark.parametrize(
    ("text", "encrypted", "needs_token"),
    [
        ("ws://127.0.0.1:1", False, False),
        ("ws://gpu1:1?insecure", False, True),
        ("wss://127.0.0.1:1", True, False),
        ("wss://gpu1:1", True, True),
        ("tcp://gpu1:1", True, True),
        ("ipc://a", False, False),
    ],
)
def test_what_a_connection_needs(text, encrypted, needs_token):
    url = parse_url(text)
    assert (url.encrypted, url.needs_token) == (encrypted, needs_token)


def test_a_tunnel_can_be_encrypted_too():
    url = parse_url("tcp://127.0.0.1:1?curve")
    assert (url.is_local, url.encrypted) == (True, True)


def test_the_address_is_what_both_sides_agree_on():
    bound = parse_url("tcp://[::1]:5555?listen&curve#t")
    assert bound.address == parse_url("tcp://[::1]:5555#other").address == "tcp://[::1]:5555"


def test_a_url_to_share_connects_with_the_token():
    bound = parse_url("tcp://0.0.0.0:5555?listen").with_token("t")
    assert bound.shareable() == f"tcp://{platform.node()}:5555#t"
    bound = parse_url("wss://0.0.0.0:1?listen&cert=/c.pem&key=/k.pem").with_token("t")
    assert bound.shareable() == f"wss://{platform.node()}:1#t"
    assert parse_url("ws://h:1?listen&insecure#t").shareable() == "ws://h:1?insecure#t"
    assert parse_url("ipc://name?listen#t").shareable() == "ipc://name#t"


def test_a_redacted_url_lacks_only_the_token():
    url = parse_url("tcp://h:1?listen&curve#s3cret")
    assert url.redacted() == "tcp://h:1?listen&curve"
    assert str(url) == "tcp://h:1?listen&curve#s3cret"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = TEXT.filter(lambda name: name and "/" not in name)
HOSTS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True) | st.ip_addresses().map(str)
URLS = st.one_of(
    st.builds(
        StreamURL, st.just("tcp"), HOSTS, st.integers(1, 65535), token=TEXT, listen=..., curve=...
    ),
    st.builds(StreamURL, st.just("ws"), HOSTS, st.integers(1, 65535), token=TEXT, insecure=...),
    st.builds(
        StreamURL,
        st.just("wss"),
        HOSTS,
        st.integers(1, 65535),
        listen=...,
        insecure=...,
        cert=TEXT,
        key=TEXT,
    ),
    st.builds(
        StreamURL, st.just("ipc"), path=NAMES | TEXT.map("/{}".format), listen=..., token=TEXT
    ),
    st.builds(
        StreamURL,
        st.just("openhcs+tcp"),
        st.just("127.0.0.1"),
        st.integers(1, 64535),
        listen=...,
        pickle=...,
    ),
    st.integers(1, 64535).map(
        lambda port: StreamURL("openhcs+ipc", port=port, path=str(port), listen=True)
    ),
    st.builds(StreamURL, st.just("memory"), path=TEXT.filter(bool), listen=..., token=TEXT),
)


@settings(deadline=None)
@given(URLS)
def test_a_url_comes_back_from_its_text(url):
    assert parse_url(str(url)) == url


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([*(f"{s}://" for s in SCHEMES), ""]), st.text("a:/?#[]@%&=.0 \n", max_size=20)
)
def test_any_text_is_a_url_or_refused(start, rest):
    try:
        url = parse_url(start + rest)
    except URLError:
        return
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "ws://127.0.0.1:8766/session#6c1b",
        "wss://gpu1:8766/session?cert=c.pem#6c1b",
        "ws://[::1]:8766/session#6c1b",
    ],
)
def test_sessions_have_urls_of_their_own(text):
    url = parse_session_url(f" {text} ")
    assert (str(url), url.path, url.token) == (text, "session", "6c1b")
    assert is_session_url(text)
    with pytest.raises(URLError, match="remote session and no stream"):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ws://127.0.0.1:8766#6c1b", "written like"),
        ("tcp://127.0.0.1:8766/session#6c1b", "written like"),
        ("ws://127.0.0.1:8766/sessions#6c1b", "written like"),
        ("ws://127.0.0.1:8766/session", "token is missing"),
        ("ws://127.0.0.1/session#6c1b", "host and port"),
        ("ws://127.0.0.1:8766/session?curve#6c1b", "wss://"),
        ("ws://127.0.0.1:0/session#6c1b", "port 0"),
        ("", "written like"),
    ],
)
def test_what_is_no_session_is_refused_with_words_and_without_its_token(text, words):
    with pytest.raises(URLError, match=words) as caught:
        parse_session_url(text)
    assert "6c1b" not in str(caught.value)


def test_who_listens_for_sessions_may_leave_out_path_and_token():
    url = parse_session_url("ws://127.0.0.1:0", listen=True)
    assert (str(url), url.listen) == ("ws://127.0.0.1:0/session?listen", True)
    assert url.with_token("t").shareable() == "ws://127.0.0.1:0/session#t"
    assert not is_session_url("ws://127.0.0.1:8765")
