"""A document of a protocol, as its tests read it: its sections, tables and examples."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parents[2] / "docs"


class Document:
    """A file in docs, and the types that it writes by name."""

    def __init__(self, name, *modules):
        self.text = (FOLDER / name).read_text(encoding="utf-8")
        self.aliases = {
            kind: name
            for module in reversed(modules)
            for name, kind in vars(module).items()
            if typing.get_args(kind)
        }

    def section(self, heading):
        found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", self.text, re.M | re.S)
        assert found, f"no section {heading!r}"
        return found[1]

    def rows(self, heading, title):
        """Return the cells of the table in a section whose header row starts with a title."""
        table = self.section(heading).split(f"\n| {title} |", 1)[1].split("\n\n")[0]
        return [
            [cell.strip() for cell in line.strip("|").split(" | ")]
            for line in table.split("\n")[2:]
        ]

    def example(self, name, language):
        found = re.search(rf"^```{language} {name}\n(.*?)^```$", self.text, re.M | re.S)
        assert found, f"no {language} example {name!r}"
        return found[1]

    def octets(self, name):
        return bytes.fromhex(
            "".join(line.partition(";")[0] for line in self.example(name, "hex").split("\n"))
        )

    def described(self, name, kind):
        return msgspec.json.decode(self.example(name, "json"), type=kind)

    def written(self, kind):
        """Return how the document writes a type."""
        if kind in self.aliases:
            return self.aliases[kind]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind.__name__
        if typing.get_origin(kind) is typing.Annotated:
            inner, bounds = typing.get_args(kind)
            if not typing.get_args(inner):
                return self.bounds(kind)
            low = f"{bounds.min_length} to" if bounds.min_length else "up to"
            what = [self.written(part) for part in typing.get_args(inner) if part is not ...]
            if typing.get_origin(inner) is dict:
                return f"map of {low} {bounds.max_length}: {' → '.join(what)}"
            return f"{low} {bounds.max_length} × {what[0]}"
        parts = typing.get_args(kind)
        if typing.get_origin(kind) is typing.Literal:
            return " or ".join(f"`{part}`" for part in parts)
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
            return " or ".join(self.written(part) for part in parts)
        if typing.get_origin(kind) is tuple:
            return f"({', '.join(map(self.written, parts))})"
        return {bool: "bool", float: "float", type(None): "nil"}[kind]

    @staticmethod
    def default(field):
        if field.required:
            return "required"
        value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        text = msgspec.json.encode(value).decode()
        return {"null": "nil", "false": "false", "0": "0"}.get(text, f"`{text}`")

    def bounds(self, kind):
        """Return how the document writes what a named type may hold."""
        if typing.get_origin(kind) is not typing.Annotated:
            parts = typing.get_args(kind)
            if typing.get_origin(kind) is typing.Literal:
                return " or ".join(f"`{part}`" for part in parts)
            if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
                return " or ".join(self._part(part) for part in parts)
            return f"({', '.join(self._part(part) for part in parts)})"
        inner, meta = typing.get_args(kind)
        if inner in (int, float):
            low = f"at least {meta.ge}" if meta.gt is None else f"above {meta.gt}"
            high = [f"at most {meta.le}"] if meta.le is not None else []
            high += [f"below {meta.lt}"] if meta.lt is not None else []
            return ", ".join([inner.__name__, low, *high])
        low = f"{meta.min_length} to " if meta.min_length else "at most "
        if inner in (str, bytes):
            unit = "code points" if inner is str else "bytes"
            return f"{inner.__name__}, {low}{meta.max_length} {unit}"
        parts = [self._part(part) for part in typing.get_args(inner) if part is not ...]
        parts = [f"({part})" if " or " in part or ", " in part else part for part in parts]
        return f"{low}{meta.max_length} × {' → '.join(parts)}"

    def _part(self, kind):
        if kind in (int, str):
            return kind.__name__
        if kind in self.aliases or not typing.get_args(kind):
            return self.written(kind)
        return self.bounds(kind)
