"""The files of the browser viewer, as they are handed out."""

from __future__ import annotations

import http.client
import re
from urllib.parse import urlsplit

import pytest

import napari_streaming as ns
from napari_streaming.uri import parse_url
from napari_streaming.web.page import page


def get(url, path="/", **headers):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.fixture
def listening(publisher):
    return publisher("ws://127.0.0.1:0?listen")


def test_a_listening_publisher_serves_the_page(listening):
    (url,) = listening.pages
    assert url.startswith("http://127.0.0.1:") and url.endswith(parse_url(listening.urls[0]).token)
    response, body = get(url)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<!doctype html>" in body


def test_all_that_the_page_refers_to_is_there():
    seen, found = set(), {"index.html"}
    while found - seen:
        name = (found - seen).pop()
        seen.add(name)
        answer = page(f"/{name}", {})
        assert answer is not None, name
        found |= set(re.findall(r'(?:from "\./|href="|src=")([\w.]+)"', answer.body.decode()))
    assert {"main.js", "renderer.js", "style.css", "icon.svg"} <= seen


def test_nothing_but_our_own_files_may_run_or_load():
    answer = page("/", {})
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"https?:|<script>|style=|\son\w+=", answer.body.decode())
    for name in ("main.js", "style.css"):
        assert page(f"/{name}", {}).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/?token=abc", "/../page.py", "/%2e%2e/page.py", "//main.js", ""])
def test_there_is_nothing_else(path):
    assert page(path, {}) is None


def test_a_name_that_a_stranger_made_lead_here_gets_no_page(listening):
    response, body = get(listening.pages[0], Host="evil.example")
    assert response.status == 426
    assert b"html" not in body


def test_a_publisher_may_have_no_page():
    with ns.Publisher("ws://127.0.0.1:0?listen", page=False) as publisher:
        assert publisher.pages == ()
        response, _ = get(publisher.urls[0].replace("ws:", "http:"))
        assert response.status == 426


def test_only_who_listens_for_browsers_has_a_page(publisher):
    assert publisher("tcp://127.0.0.1:0?listen").pages == ()
