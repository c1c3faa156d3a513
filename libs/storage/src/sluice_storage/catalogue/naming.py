"""File and folder names that are safe to store, to show and to save, and the names AUTORENAME gives."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

LONGEST = 255
"""Bytes of UTF-8 that a name may have: what common file systems take."""

_LONGEST_EXTENSION = 32
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst"})

# What separates path segments somewhere, and what looks like it does.
_SEPARATORS = dict.fromkeys(map(ord, "/\\\u2044\u2215\u29f8\u29f5\uff0f\uff3c"), "_")

# Marks that reorder what surrounds them, so that a name shows as another ("exe.fdp" as "pdf.exe"), and the
# byte order mark. Other format characters stay: joiners belong to the spelling of several scripts.
_UNSEEN = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)
_DROPPED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def safe_name(raw: str) -> str | None:
    """Give `raw` as a name that may be stored and shown, or None if nothing of it is left.

    The result is NFC, has no control, bidirectional or separator characters, at most 255 bytes (its extension
    is kept where the rest is cut), no white space at either end, and is not empty, `.` or `..`. A safe name
    comes back as it is.
    """
    if raw.isascii() and raw.isprintable() and "/" not in raw and "\\" not in raw:
        # Nothing of what follows would change it; nearly all names are such.
        return _named(raw)
    kept = (
        " " if unicodedata.category(character) == "Zs" else character
        for character in unicodedata.normalize("NFC", raw.translate(_SEPARATORS))
        if character not in _UNSEEN and unicodedata.category(character) not in _DROPPED
    )
    return _named(unicodedata.normalize("NFC", "".join(kept)))


def _named(kept: str) -> str | None:
    name = shortened(kept.strip())
    return None if name in {"", ".", ".."} else name


def extension(name: str) -> str:
    """Give the name's extension with its dot (`.gz` and the like with the one before), or nothing."""
    suffixes = PurePosixPath(name).suffixes[-2:]
    if not suffixes or len(suffixes[-1]) < 2:
        return ""
    packed = len(suffixes) == 2 and suffixes[-1].lower() in _PACKED
    found = "".join(suffixes) if packed else suffixes[-1]
    return found if len(found.encode()) <= _LONGEST_EXTENSION else ""


def shortened(name: str, longest: int = LONGEST) -> str:
    """Cut the name to `longest` bytes of UTF-8, in front of its extension and between characters."""
    if len(name.encode()) <= longest:
        return name
    ending = extension(name)
    stem = name[: len(name) - len(ending)] if ending else name
    room = longest - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + ending


def renamed(name: str, number: int) -> str:
    """Give the name that AUTORENAME tries as its `number`th, from 1: `_1_name.ext`, `_2_name.ext`."""
    prefix = f"_{number}_"
    return prefix + shortened(name, LONGEST - len(prefix))
