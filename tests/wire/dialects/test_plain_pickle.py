from __future__ import annotations

import builtins
import collections
import datetime
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from napari_streaming.errors import MalformedError
from napari_streaming.wire.dialects.plain_pickle import read_plain

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=5).map(tuple)
    ),
    max_leaves=20,
)
DTYPES = (
    of_numpy.boolean_dtypes()
    | of_numpy.integer_dtypes()
    | of_numpy.floating_dtypes(sizes=(16, 32, 64))
)
ARRAYS = of_numpy.arrays(DTYPES, of_numpy.array_shapes(min_dims=0, min_side=0, max_dims=4))


class Payload:
    """Calls something where it is loaded."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class State:
    def __setstate__(self, state):
        raise AssertionError("this was run")

    def __getstate__(self):
        return {"a": 1}


@settings(deadline=None)
@given(PLAIN, st.integers(3, 5))
def test_plain_values_come_back(value, protocol):
    # Each occurrence is an object of its own: what is shared is refused.
    assert read_plain(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_a_request_in_any_protocol(protocol):
    request = {"type": "ping", "again": "ping", "n": [1, -1, 2.5, None, True, 2**70], "t": (1,)}
    assert read_plain(pickle.dumps(request, protocol)) == request


@settings(deadline=None)
@given(ARRAYS, st.integers(3, 5), st.booleans())
def test_arrays_come_back_where_they_are_allowed(array, protocol, is_fortran):
    array = np.asfortranarray(array) if is_fortran else array
    data = pickle.dumps({"a": array, "b": [array.copy()]}, protocol)
    found = read_plain(data, arrays=True)
    for copy in (found["a"], found["b"][0]):
        assert (copy.dtype, copy.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(copy, array)
    with pytest.raises(MalformedError, match="only plain values may"):
        read_plain(data)


def test_arrays_of_either_major_version_of_numpy():
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        data = pickletools.optimize(pickle.dumps(np.arange(3), 3))
        for written in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
            data = data.replace(b"c" + written, b"c" + module)
        assert read_plain(data, arrays=True).tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("arrays", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        Payload(os.system, "false"),
        Payload(builtins.eval, "1/0"),
        Payload(builtins.exec, "1/0"),
        Payload(getattr, "x", "upper"),
        Payload(__import__, "os"),
        Payload(np.load, "x.npy"),
        Payload(np.fromfile, "/dev/zero"),
        Payload(np.zeros, 10**15),
        Payload(np.ndarray, (10**15,)),
        Payload(np.dtype, "O"),
        Payload(np.dtype, [("a", "O")]),
        Payload(pickle.loads, b"."),
        State(),
        collections.OrderedDict(a=1),
        datetime.date(2026, 1, 1),
        {1, 2},
        1j,
        os.system,
        np.array([1, "a", None], object),
        np.array([Payload(os.system, "false")], object),
        np.zeros(2, [("a", "O")]),
        np.zeros(2, [("a", "<i4"), ("b", "<f8")]),
        np.zeros(2, "c16"),
        np.zeros(2, "U3"),
        np.zeros(2, "M8[s]"),
        np.zeros(2, np.longdouble),
        np.ma.zeros(2),
        np.float64(1),
        {(1, 2): 3},
        {None: 3},
    ],
    ids=lambda value: str(value)[:20],
)
def test_anything_else_is_refused_and_not_run(value, protocol, arrays):
    for holder in (value, {"type": "ping", "data": value}, [value]):
        data = pickle.dumps(holder, protocol)
        with pytest.raises(MalformedError):
            read_plain(data, arrays=arrays)


CALLS = b"\x8c\x02os\x8c\x06system\x93\x8c\x05false"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"\x80",
        b"\x80\x04.",
        b"NN.",
        b"(.",
        b"0.",
        b"}\x8c\x01a.",
        b"N}b.",
        b"NNR.",
        b"N(e.",
        b"(u.",
        b"h\x00.",
        b"\x80\x04" + CALLS + b"\x85R.",
        b"\x80\x04" + CALLS + b"\x85\x81.",  # NEWOBJ
        b"\x80\x04" + CALLS + b"\x85}\x92.",  # NEWOBJ_EX
        b"(S'false'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'false'\no.",  # OBJ
        b"\x82\x01.",  # EXT1
        b"Pos\n.",  # PERSID
        b"NQ.",  # BINPERSID
        b"\x97.",  # NEXT_BUFFER
        b"cos\nsystem\n.",
        b"cnumpy\nndarray\n.",
        b"cnumpy\nndarray\n)R.",
        b"]q\x00h\x00a.",  # a list in itself
        b"}q\x00(K\x01h\x00u.",
        b"]q\x00]h\x00ah\x00a.",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x8a\xff" + b"\x7f" * 10,
        b"\x8e" + (2**62).to_bytes(8, "little") + b"a.",  # BINBYTES8 of absurd length
        b"N" * 1_000_001 + b".",
    ],
)
def test_hand_made_pickles_are_refused(data):
    with pytest.raises(MalformedError):
        read_plain(data, arrays=True)


def test_an_array_of_another_size_than_it_says_is_refused():
    data = pickle.dumps(np.arange(6, dtype="u1").reshape(2, 3), 3)
    assert b"K\x02K\x03\x86" in data
    with pytest.raises(MalformedError, match="in 6 bytes"):
        read_plain(data.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"), arrays=True)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_plain_or_refused(data, arrays):
    try:
        read_plain(data, arrays=arrays)
    except MalformedError:
        return


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_garbled_pickle_is_plain_or_refused(data):
    good = pickle.dumps({"data": np.arange(6).reshape(2, 3), "a": [1, (2, "x")]}, 4)
    garbled = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        garbled[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_plain(bytes(garbled), arrays=True)
    except MalformedError:
        return
