"""Patterns of file names: ``{well}_s{site}_w{channel}.tif`` to coordinates, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from string import Formatter

from napari_streaming.errors import DataError

__all__ = ["Pattern", "parse_pattern"]

_EXAMPLE = 'write a pattern like "{well}_s{site}_w{channel}.tif" or "{well}/t{t:d}.tif"'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIGITS = re.compile(r"(?:0([1-9]))?d")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class _Field:
    """A part of a name that differs from file to file."""

    name: str
    digits: int = 0  # at least so many, and nothing else; 0: anything but a folder's end

    def regex(self) -> str:
        inside = f"[0-9]{{{self.digits},}}" if self.digits else "[^/]+?"
        return f"(?P<{self.name}>{inside})"


@dataclass(frozen=True)
class Pattern:
    """A file name with fields in it; :func:`parse_pattern` makes one.

    Attributes
    ----------
    text : str
        The pattern as it was written.
    """

    text: str
    _parts: tuple[str | _Field, ...]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields, in their order."""
        return tuple(dict.fromkeys(p.name for p in self._parts if isinstance(p, _Field)))

    @cached_property
    def has_folders(self) -> bool:
        """Whether it is of paths, and not of names."""
        return "/" in self.text

    @cached_property
    def words(self) -> str:
        """What names have in common, for people: ``"cells"`` of ``"cells_t{t}.tif"``.

        Without the extension, and without letters that only announce a field; may be empty.
        """
        kept: list[str] = []
        for part, after in zip(self._parts, (*self._parts[1:], None), strict=True):
            if isinstance(part, _Field):
                continue
            words = _SEPARATORS.split(part if after else _without_suffix(part))
            if isinstance(after, _Field) and _announces(words[-1], after.name):
                words.pop()
            kept += filter(None, words)
        return "_".join(kept)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pieces: list[str] = []
        seen: set[str] = set()
        for part in self._parts:
            if isinstance(part, str):
                pieces.append(re.escape(part))
            else:
                pieces.append(f"(?P={part.name})" if part.name in seen else part.regex())
                seen.add(part.name)
        return re.compile("".join(pieces))

    def coordinates(self, name: str) -> dict[str, int | str] | None:
        """Return what the fields are in a name.

        Parameters
        ----------
        name : str
            A file's name; a path with ``/`` if the pattern has folders.

        Returns
        -------
        dict of str to int or str, or None
            Digits are an int, if 64 bits can hold it: ``"007"`` is 7. None: the name does
            not fit the pattern.
        """
        found = self._regex.fullmatch(name)
        return {field: _value(text) for field, text in found.groupdict().items()} if found else None

    def format(self, **coordinates: int | str) -> str:
        """Return the name that has these coordinates.

        Raises
        ------
        DataError
            A field is missing, there is no such field, or the name could not be read back.
        """
        if missing := set(self.fields) - coordinates.keys():
            raise DataError(f"{self.text!r}: give {', '.join(sorted(missing))} too")
        if unknown := coordinates.keys() - set(self.fields):
            raise DataError(f"{self.text!r} has no field {', '.join(sorted(unknown))}")
        name = "".join(
            part if isinstance(part, str) else str(coordinates[part.name]).rjust(part.digits, "0")
            for part in self._parts
        )
        if self.coordinates(name) != {f: _value(str(v)) for f, v in coordinates.items()}:
            raise DataError(
                f"{self.text!r} with {coordinates} would be {name!r}, which reads differently: "
                "separate the fields by what their values do not contain"
            )
        return name


def parse_pattern(text: str) -> Pattern:
    """Read a pattern of file names.

    Parameters
    ----------
    text : str
        ``{name}`` stands for anything but ``/``, as short as possible; ``{name:d}`` for
        digits only, ``{name:03d}`` for at least three. A field that comes twice is the same
        twice. ``{{`` and ``}}`` are braces.

    Returns
    -------
    Pattern

    Raises
    ------
    DataError
        It is no pattern; the error says what to write.
    """
    parts: list[str | _Field] = []
    try:
        for literal, name, kind, conversion in Formatter().parse(text):
            _add_literal(parts, literal)
            if name is not None:
                _add_field(parts, text, name, kind or "", conversion)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"pattern {text!r}: {str(error).lower()}; {_EXAMPLE}") from None
    if not any(isinstance(part, _Field) for part in parts):
        raise DataError(f"pattern {text!r} has no fields; {_EXAMPLE}")
    if text.startswith("/") or {".", ".."} & set(text.split("/")) or "//" in text:
        raise DataError(f"pattern {text!r}: give it relative to the folder; {_EXAMPLE}")
    return Pattern(text, tuple(parts))


def _add_literal(parts: list[str | _Field], literal: str) -> None:
    """Add fixed text; that with braces comes in pieces."""
    if literal and parts and isinstance(parts[-1], str):
        parts[-1] += literal
    elif literal:
        parts.append(literal)


def _add_field(
    parts: list[str | _Field], text: str, name: str, kind: str, conversion: str | None
) -> None:
    if not _NAME.fullmatch(name) or conversion:
        raise DataError(f"pattern {text!r}: {{{name}}} is no field; {_EXAMPLE}")
    if parts and isinstance(parts[-1], _Field):
        raise DataError(
            f"pattern {text!r}: nothing tells where {{{parts[-1].name}}} ends and {{{name}}} "
            f"begins; write what stands between them, or one field for both"
        )
    digits = _DIGITS.fullmatch(kind)
    if kind and not digits:
        raise DataError(
            f"pattern {text!r}: {{{name}:{kind}}} is no field; write {{{name}}} for any text, "
            f"{{{name}:d}} for digits, {{{name}:03d}} for at least three"
        )
    parts.append(_Field(name, int(digits[1] or 1) if digits else 0))


def _value(text: str) -> int | str:
    if text.isascii() and text.isdigit() and len(text) < 256 and int(text) < 2**63:
        return int(text)
    return text


def _announces(word: str, field: str) -> bool:
    """Whether a word before a field says nothing but which one it is: the s of ``s{site}``."""
    return len(word) == 1 or field.lower().startswith(word.lower())


def _without_suffix(text: str) -> str:
    """Return the end of a name without its extensions."""
    return text.removesuffix(PurePosixPath("x" + text).suffix).removesuffix(".ome")
