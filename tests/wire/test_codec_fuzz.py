from __future__ import annotations

import re
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from napari_streaming.errors import MalformedError, VersionError
from napari_streaming.wire.codec import as_array, nbytes, pack, unpack
from napari_streaming.wire.messages import Item, Message, Metric, Subscribe

TYPES = typing.get_args(Message)
DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<U3"]
PREFIX = b"NPST\x01\x00"
REGIONS = st.tuples(*[st.integers(0, 2**62)] * 2, *[st.integers(2**62 + 1, 2**63 - 1)] * 2)


def values(kind):
    """Return a strategy for a type, as its bounds stand in the message definitions."""
    text = st.characters(exclude_categories=["Cs"])  # no UTF-8 says them
    match kind:
        case inspect.StrType(pattern=str()):
            return st.sampled_from([d for d in (*DTYPES, "U") if re.match(kind.pattern, d)])
        case inspect.StrType():
            return st.text(text, min_size=kind.min_length or 0, max_size=20)
        case inspect.IntType(lt=1099511627776):  # a side of an array, which gets a buffer here
            return st.integers(0, 4)
        case inspect.IntType():
            return st.integers(kind.ge, kind.lt - 1 if kind.le is None else kind.le)
        case inspect.FloatType():
            bounds = {
                "min_value": kind.ge,
                "max_value": kind.lt,
                "exclude_max": kind.lt is not None,
            }
            return st.floats(allow_nan=False, allow_infinity=False, **bounds)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.UnionType():
            return st.one_of(*map(values, kind.types))
        case inspect.VarTupleType():
            items = st.lists(values(kind.item_type), min_size=kind.min_length or 0, max_size=3)
            return items.map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(values, kind.item_types))
        case inspect.DictType():
            return st.dictionaries(values(kind.key_type), values(kind.value_type), max_size=3)
        case inspect.StructType(cls=cls) if cls is Metric:
            rows = st.lists(st.tuples(*[st.floats(allow_nan=False)] * 3), max_size=3)
            columns = rows.map(lambda rows: [list(c) for c in zip(*rows, strict=True)] or [[]] * 3)
            return columns.map(lambda columns: Metric("loss", *columns))
        case inspect.StructType(cls=cls) if cls is Subscribe:
            fields = {f.name: values(f.type) for f in kind.fields if f.name != "region"}
            return st.builds(cls, **fields, region=st.none() | REGIONS)
        case inspect.StructType():
            return st.builds(kind.cls, **{f.name: values(f.type) for f in kind.fields})
    raise NotImplementedError(kind)


def messages(types=TYPES):
    return st.one_of(*(values(inspect.type_info(t)) for t in types))


def buffers_of(message):
    if not isinstance(message, Item):
        return []
    return [bytes(nbytes(a)) for a in message.arrays if a.block is None]


@pytest.mark.parametrize("kind", TYPES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_packed_comes_back(kind, data):
    message = data.draw(messages([kind]))
    buffers = buffers_of(message)
    assert unpack([pack(message), *buffers]) == (message, buffers)


def decodes_or_is_refused(given_frames):
    try:
        message, buffers = unpack(given_frames)
    except (MalformedError, VersionError):
        return
    inline = [a for a in getattr(message, "arrays", ()) if a.block is None]
    for described, buffer in zip(inline, buffers, strict=True):
        if described.codec:
            with pytest.raises(MalformedError):
                as_array(described, buffer)
        else:
            assert as_array(described, buffer).shape == described.shape


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=64), max_size=3), st.booleans())
def test_random_bytes_are_refused_in_order(parts, ours):
    decodes_or_is_refused([PREFIX + parts[0], *parts[1:]] if ours and parts else parts)


@settings(deadline=None, max_examples=300)
@given(messages(), st.data())
def test_flipped_bytes_are_refused_in_order(message, data):
    header = bytearray(pack(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(header) - 1))
        header[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        header = header or bytearray(1)
    decodes_or_is_refused([bytes(header), *buffers_of(message)])


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(deadline=None, max_examples=300)
@given(messages(), st.data())
def test_a_wrong_field_is_refused_in_order(message, data):
    fields = msgspec.to_builtins(message)
    wrong = data.draw(st.sampled_from([fields, *fields.get("arrays", ())]))
    wrong[data.draw(st.sampled_from(sorted(wrong)))] = data.draw(ANYTHING)
    header = PREFIX + msgspec.msgpack.encode(fields)
    decodes_or_is_refused([header, *buffers_of(message)])
