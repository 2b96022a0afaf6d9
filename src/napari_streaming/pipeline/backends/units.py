"""Names of units: as people write them, as OME-XML has them, and as OME-Zarr has them."""

from __future__ import annotations

from napari_streaming.errors import DataError

__all__ = ["ome_symbol", "ome_word"]

_WORDS = {
    "pm": "picometer", "Å": "angstrom", "nm": "nanometer", "µm": "micrometer",
    "mm": "millimeter", "cm": "centimeter", "m": "meter",
    "ns": "nanosecond", "µs": "microsecond", "ms": "millisecond", "s": "second",
    "min": "minute", "h": "hour", "pixel": "",
}  # fmt: skip
_SYMBOLS = {word: symbol for symbol, word in _WORDS.items() if word}
_SYMBOLS |= {
    "micron": "µm",
    "px": "pixel",
    "pixels": "pixel",
    "um": "µm",
    "us": "µs",
    "sec": "s",
    "hr": "h",
}
_MU = str.maketrans({"\u03bc": "µ"})  # the Greek letter, which looks the same


def ome_symbol(unit: str) -> str:
    """Return a unit as OME-XML has it: ``"µm"``.

    Raises
    ------
    DataError
        It is not known.
    """
    text = unit.strip().translate(_MU)
    if text in _WORDS:
        return text
    word = text.lower().replace("metre", "meter")
    symbol = _SYMBOLS.get(word) or _SYMBOLS.get(word.removesuffix("s"))
    if symbol is None:
        raise DataError(f"units {unit!r}: a file knows {', '.join(_WORDS)}")
    return symbol


def ome_word(unit: str) -> str | None:
    """Return a unit as OME-Zarr has it, ``"micrometer"``; None for pixels.

    Raises
    ------
    DataError
        It is not known.
    """
    return _WORDS[ome_symbol(unit)] or None
