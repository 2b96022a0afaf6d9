"""The folder of which clients may open files: nothing outside it is ever named or read."""

from __future__ import annotations

from pathlib import Path

from napari_streaming.errors import IntentError
from napari_streaming.wire.attributes import Changes

__all__ = ["Folder"]

_AT_ONCE = 1000
_ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")


class Folder:
    """A folder, and what is in it.

    Parameters
    ----------
    root : Path
        It exists.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve(strict=True)

    def path_of(self, name: str) -> Path:
        """Return the real path of something in the folder.

        Parameters
        ----------
        name : str
            Relative to the folder, with "/" between names.

        Raises
        ------
        IntentError
            There is no such thing, or it lies outside: "..", an absolute path, or a link out.
        """
        try:
            path = (self._root / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # also a loop of links, or a NUL
            # The same for what is outside: nobody learns what is there.
            raise IntentError(f"{name[:500]!r}: there is no such file in the folder") from None
        if not path.is_relative_to(self._root):
            raise IntentError(f"{name[:500]!r}: there is no such file in the folder")
        return path

    def without_root(self, words: str) -> str:
        """Return words without where the folder lies, which is nobody's business."""
        return words.replace(f"{self._root}/", "").replace(str(self._root), ".")

    def list(self, name: str = "", start: int = 0) -> Changes:
        """Return what is in a folder, at most a thousand at once.

        Returns
        -------
        dict
            ``path`` of the folder, relative to the root; ``entries``: of each its name, its kind
            ("folder", "zarr" or "file") and its size in bytes, folders first; ``more``: whether
            there are others, from ``start`` + 1000 on.

        Raises
        ------
        IntentError
            There is no such folder in the root, or it cannot be read.
        """
        folder = self.path_of(name)
        try:
            found = [entry for path in folder.iterdir() if (entry := self._entry(path)) is not None]
        except OSError as error:
            raise IntentError(f"{name[:500]!r}: {error.strerror}") from None
        found.sort(key=lambda entry: (entry[1] != "folder", entry[0].lower(), entry[0]))
        relative = folder.relative_to(self._root).as_posix()
        shown = [list(entry) for entry in found[start : start + _AT_ONCE]]
        return {
            "path": "" if relative == "." else relative,
            "entries": shown,  # type: ignore[dict-item]
            "more": len(found) > start + _AT_ONCE,
        }

    def _entry(self, path: Path) -> tuple[str, str, int] | None:
        """Return one line of the list; None for what may not be opened."""
        try:
            real = path.resolve(strict=True)
            if path.name.startswith(".") or not real.is_relative_to(self._root):
                return None
            path.name.encode()  # names that are no text cannot be sent
            if real.is_file():
                return path.name, "file", real.stat().st_size
            if real.is_dir():
                is_zarr = any((real / mark).exists() for mark in _ZARR_MARKS)
                return path.name, "zarr" if is_zarr else "folder", 0
        except (OSError, RuntimeError, UnicodeEncodeError):
            return None
        return None
