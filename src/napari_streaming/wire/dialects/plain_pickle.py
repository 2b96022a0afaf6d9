"""Pickles that are read and never run: plain values and, where allowed, numpy arrays.

A pickle is a program for a stack machine. This one knows the instructions that build numbers,
text, bytes, lists, tuples and dicts, and no others. The calls that numpy writes for an array
are not made: they are recognised, and what they say is put together here.
"""

from __future__ import annotations

import math
import pickletools
import re
from typing import Any

import numpy as np

from napari_streaming.errors import MalformedError

__all__ = ["read_plain"]

_MOST_STEPS = 1_000_000
_MOST_AXES = 16

_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_SCALARS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_NUMPY = {  # as numpy 1 and 2 name them
    "numpy ndarray": "array",
    "numpy dtype": "dtype",
    "numpy.core.multiarray _reconstruct": "made empty",
    "numpy._core.multiarray _reconstruct": "made empty",
    "numpy.core.numeric _frombuffer": "made of bytes",
    "numpy._core.numeric _frombuffer": "made of bytes",
}
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")


class _Mark:
    """Where the arguments of an instruction begin."""


class _Name(str):
    """A name out of `_NUMPY`, by what it is here."""


class _Dtype:
    """A numpy dtype: one number, and of which byte order."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def as_numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """A numpy array of which nothing is known yet."""


def read_plain(data: bytes, *, arrays: bool = False) -> Any:
    """Return what a pickle holds, if that is plain.

    Parameters
    ----------
    data : bytes
        A whole pickle, of any protocol; of protocol 3 or higher if arrays are to be read.
    arrays : bool
        Whether numpy arrays of bools, integers and floats are plain, too.

    Returns
    -------
    None, bool, int, float, str, bytes, bytearray, list, tuple, dict or ndarray
        Keys are text or integers.

    Raises
    ------
    MalformedError
        It is no pickle, or would do anything but build such values.
    """
    try:
        return _Machine(arrays).run(data)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedError(f"not a plain pickle: {error!r}"[:500]) from None


class _Machine:
    def __init__(self, arrays: bool) -> None:
        self._arrays = arrays
        self._stack: list[Any] = []
        self._memo: dict[Any, Any] = {}

    def run(self, data: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= _MOST_STEPS:
                raise MalformedError(f"a pickle of more than {_MOST_STEPS} steps")
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        (value,) = self._stack
        if isinstance(value, _Mark | _Name | _Dtype | _Array):
            raise MalformedError("a pickle that is not finished")
        return value

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _SCALARS:
            stack.append(argument)
        elif name in _VALUES:
            stack.append(_VALUES[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _PUT:
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _GET:
            stack.append(self._recall(argument))
        elif name == "MARK":
            stack.append(_Mark())
        elif name in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[name])))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument if name == "GLOBAL" else " ".join(self._take(2)))
        elif name == "REDUCE":
            stack.append(_call(*self._take(2)))
        elif name == "BUILD":
            stack.append(_build(*self._take(2)))
        elif name not in ("PROTO", "FRAME"):
            self._fill(name)

    def _fill(self, name: str) -> None:
        """Build, or add to, a container."""
        if name in ("APPEND", "SETITEM"):
            values = self._take(1 if name == "APPEND" else 2)
        elif name in ("TUPLE", "LIST", "DICT", "APPENDS", "SETITEMS"):
            values = self._take_to_mark()
        else:
            raise MalformedError(f"a pickle that is not plain: it says {name}")
        if name == "TUPLE":
            self._stack.append(tuple(values))
        elif name == "LIST":
            self._stack.append(values)
        elif name == "DICT":
            self._stack.append(_pairs(values))
        elif name.startswith("APPEND"):
            _as(list, self._stack[-1]).extend(values)
        else:
            _as(dict, self._stack[-1]).update(_pairs(values))

    def _take(self, count: int) -> list[Any]:
        taken = self._stack[-count:]
        if len(taken) < count or any(isinstance(value, _Mark) for value in taken):
            raise MalformedError("a pickle that takes what it never gave")
        del self._stack[-count:]
        return taken

    def _take_to_mark(self) -> list[Any]:
        taken: list[Any] = []
        while not isinstance(value := self._stack.pop(), _Mark):
            taken.append(value)
        return taken[::-1]

    def _recall(self, key: Any) -> Any:
        """Return what was put aside, if it is small: a list in itself would have no end."""
        value = self._memo[key]
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(part, list | dict | tuple | _Array | _Mark) for part in parts):
            raise MalformedError("a pickle that holds one container in two places")
        return value

    def _name(self, name: str) -> None:
        if not self._arrays or name not in _NUMPY:
            allowed = "values and numpy arrays" if self._arrays else "values"
            raise MalformedError(f"a pickle that names {name[:200]!r}: only plain {allowed} may")
        self._stack.append(_Name(_NUMPY[name]))


def _as(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise MalformedError(f"a pickle that takes a {type(value).__name__} for a {kind.__name__}")
    return value


def _pairs(values: list[Any]) -> dict[Any, Any]:
    keys = values[::2]
    if wrong := [key for key in keys if type(key) not in (str, int)]:
        raise MalformedError(f"a pickle with a key of type {type(wrong[0]).__name__}")
    return dict(zip(keys, values[1::2], strict=True))


def _call(name: Any, arguments: Any) -> Any:
    """Return what numpy's own pickles mean by a call."""
    _as(tuple, arguments)
    if _as(_Name, name) == "dtype":
        code, align, copy = arguments
        if not _DTYPE.fullmatch(_as(str, code)) or (align, copy) != (False, True):
            raise MalformedError(f"an array of dtype {code!r}")
        return _Dtype(code)
    if name == "made empty":
        kind, shape, _ = arguments
        if _as(_Name, kind) == "array" and shape == (0,):
            return _Array()
    if name == "made of bytes":
        data, dtype, shape, order = arguments
        return _array(data, dtype, shape, order)
    raise MalformedError("a call that makes no plain array")


def _build(what: Any, state: Any) -> Any:
    """Return an array or a dtype, completed by what numpy noted of it."""
    _as(tuple, state)
    if isinstance(what, _Dtype):
        _, order, *fields = state
        if order not in ("<", ">", "|", "=") or fields[:3] != [None, None, None]:
            raise MalformedError("an array of records or objects")
        what.order = order
        return what
    _as(_Array, what)
    _, shape, dtype, is_fortran, data = state
    return _array(data, dtype, shape, "F" if is_fortran is True else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if type(data) not in (bytes, bytearray) or order not in ("C", "F"):
        raise MalformedError("an array whose elements are no bytes")
    wrong = [n for n in _as(tuple, shape) if type(n) is not int or not 0 <= n < 2**40]
    element = _as(_Dtype, dtype).as_numpy()
    if wrong or len(shape) > _MOST_AXES or math.prod(shape) * element.itemsize != len(data):
        raise MalformedError(f"an array of {element} {shape} in {len(data)} bytes"[:500])
    return np.ndarray(shape, element, data, order=order)
