"""Saves what a reply brings along: pictures and small files, under names that are safe on this machine."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# The type decides what the system opens a picture with, whatever its name says.
_PICTURE_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
}
_RESERVED_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_NAME_MAX = 100
_NUMBERS_MAX = 10_000


class Saved(NamedTuple):
    """What was saved and what was not.

    Attributes:
        paths: the new files.
        problems: a sentence for each that could not be saved.
    """

    paths: list[Path]
    problems: list[str]


def safe_name(name: str, content_type: str = "") -> str:
    """A file name without folders or anything special, with the suffix of a picture's type.

    Args:
        name: as the reply gives it, possibly a path.
        content_type: decides the suffix where it is a picture's.
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._")[-_NAME_MAX:].lstrip(".") or "file"
    if _RESERVED_ON_WINDOWS.match(plain):
        plain = f"_{plain}"
    suffix = _PICTURE_SUFFIXES.get(content_type.partition(";")[0].strip().lower())
    if suffix is None or (suffix == ".jpg" and plain.lower().endswith(".jpeg")):
        return plain
    return plain if plain.lower().endswith(suffix) else f"{Path(plain).stem}{suffix}"


def save(reply: Mapping[str, Any], folder: Path) -> Saved:
    """Writes a reply's pictures and files into a folder; an existing file is never touched.

    Args:
        reply: the reply's JSON.
        folder: made if there is something to save.

    Returns:
        The paths, and what could not be saved.
    """
    saved = Saved([], [])
    pictures = _rows(reply.get("pictures"))
    names = {str(row.get("name")) for row in pictures}
    files = [row for row in _rows(reply.get("files")) if "content" in row and str(row.get("name")) not in names]
    for row in [*pictures, *files]:
        name = safe_name(str(row.get("name", "")), str(row.get("content_type", "")))
        try:
            content = base64.b64decode(str(row.get("content", "")), validate=True)
            saved.paths.append(_write_new(folder, name, content))
        except binascii.Error:
            saved.problems.append(f"{name} came in a form that cannot be read and was not saved.")
        except OSError as error:
            saved.problems.append(f"{name} could not be saved in {folder}: {error.strerror}.")
    return saved


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, Iterable) else []


def _write_new(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in range(1, _NUMBERS_MAX):
        path = folder / (name if number == 1 else f"{stem}-{number}{suffix}")
        try:
            # "x" neither overwrites a file nor follows a link.
            with open(path, "xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return path
    raise OSError(0, "there are too many files of this name")
