from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import DataError
from napari_streaming.record.timeline import (
    Canvas,
    Chunk,
    Entry,
    Rows,
    TimelineFile,
    decode,
    encode,
    read_timeline,
)
from napari_streaming.wire.messages import (
    Array,
    Declare,
    Gap,
    Item,
    Metric,
    Parameter,
    Peer,
    Progress,
    Status,
)

names = st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable()) | st.sampled_from(
    ["$", "$float", "$$float", "type", "µm"]
)
finite = st.floats(allow_nan=False, allow_infinity=False)
coordinates = st.integers(-(2**63), 2**63 - 1) | finite | names
numbers = st.lists(st.floats(), max_size=4)
counts = st.integers(0, 2**63 - 1)
messages = st.one_of(
    st.builds(Status, st.sampled_from(["info", "error"]), names, st.floats(0, 2**36)),
    numbers.map(lambda column: Metric("m", column, column, column)),
    st.builds(Progress, st.floats(0), st.floats(0), names),
    st.builds(
        Parameter,
        name=names,
        kind=st.just("float"),
        value=st.booleans() | st.floats() | names,
        minimum=st.none() | st.floats(),
        choices=st.lists(names, max_size=3).map(tuple),
    ),
    st.builds(Gap, st.just(3), counts, counts, counts, names),
    st.builds(
        Declare,
        stream=st.just(3),
        name=names,
        kind=st.just("points"),
        dtype=st.just("<f8"),
        shape=st.just((2,)),
        axes=st.just(("y", "x")),
        scale=numbers.map(tuple),
        features=st.dictionaries(names, st.sampled_from(["<f8", "U"]), max_size=3),
    ),
    st.builds(
        Item,
        stream=st.just(3),
        sequence=counts,
        time=st.floats(0, 2**36),
        at=st.dictionaries(names, coordinates, max_size=4),
        arrays=st.just((Array("data", "<u2", (3, 4)),)),
        along=st.dictionaries(names, st.lists(coordinates, min_size=1).map(tuple), max_size=2),
        key=names,
        append=st.booleans(),
    ),
)
chunks = st.builds(Chunk, names, counts, counts)
entries = st.builds(
    Entry,
    t=st.floats(0, 1e9),
    run=names,
    peer=st.none()
    | st.just(Peer(role="publish", program="p", software="s", host="h", pid=1, run="r")),
    left=st.none() | names,
    message=st.none() | messages,
    planes=st.lists(chunks, max_size=3).map(tuple),
    rows=st.dictionaries(names, st.builds(Rows, names, counts, counts), max_size=2),
    words=st.dictionaries(names, st.lists(st.text(st.characters(codec="utf-8"))).map(tuple)),
    canvas=st.none()
    | st.builds(Canvas, st.just(1), st.dictionaries(names, coordinates, max_size=2), chunks),
)


def same(one, other) -> bool:
    """Whether two are equal, NaN being equal to itself and 3 not being 3.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, f), getattr(other, f)) for f in one.__struct_fields__)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


@given(entries)
def test_an_entry_is_read_back_as_it_was(entry):
    line = encode(entry)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert same(decode(line), entry)


@given(entries)
def test_every_line_is_strict_json(entry):
    def refuse(text):
        raise AssertionError(text)

    json.loads(encode(entry), parse_constant=refuse)


@given(st.lists(entries, max_size=5), st.data())
def test_what_was_cut_off_is_left_out(tmp_path_factory, some, data):
    path = tmp_path_factory.mktemp("timeline") / "t.jsonl"
    timeline = TimelineFile(path, 12.5)
    for entry in some:
        timeline.add(entry)
    timeline.flush()
    timeline.close()
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: data.draw(st.integers(first, len(whole)))])
    header, read = read_timeline(path)
    assert header.began == 12.5
    kept = list(read)
    assert all(map(same, kept, some))
    assert len(kept) == path.read_bytes().count(b"\n") - 1


def test_a_full_disk_leaves_whole_lines(tmp_path, remote):
    path = tmp_path / "t.jsonl"
    process = remote()
    process("import resource, pathlib")
    process("from napari_streaming.record.timeline import *")
    process(f"timeline = TimelineFile(pathlib.Path({str(path)!r}), 1.0)")
    process("[timeline.add(Entry(float(n), 'r')) for n in range(10)]")
    process("timeline.flush()")
    process("resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))")
    process(
        "def fill():\n"
        "    try:\n"
        "        for n in range(10, 1000):\n"
        "            timeline.add(Entry(float(n), 'r'))\n"
        "            timeline.flush()\n"
        "    except OSError as error:\n"
        "        return n\n"
    )
    failed_at = process("fill()")
    assert 10 < failed_at < 1000
    assert [entry.t for entry in read_timeline(path)[1]] == list(range(failed_at))


def test_another_file_is_no_timeline(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"format": "else", "version": 1, "began": 0}\n')
    with pytest.raises(DataError, match="no timeline"):
        read_timeline(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="no timeline"):
        read_timeline(path)


def test_a_timeline_that_was_replaced_is_noticed(tmp_path):
    path = tmp_path / "t.jsonl"
    timeline = TimelineFile(path, 1.0)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        timeline.flush()
    path.write_text("another")
    with pytest.raises(FileNotFoundError):
        timeline.flush()
    timeline.close()
