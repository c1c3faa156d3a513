"""What a file, folder, tag or metadata key may be called.

Names are shown to people and end up in headers and on file systems, so what could be read as something else
is refused rather than repaired: the caller should know what their file is called.
"""

from __future__ import annotations

import re
import unicodedata

from sluice_storage.catalogue.naming import LONGEST, safe_name

_SEPARATORS = frozenset("/\\")
# Most names are plain ASCII; this says at once that they are sound, which is all that is asked a hundred
# times in a request. What it does not match is looked at rule by rule.
_PLAIN = re.compile(r"(?!\.{1,2}\Z)[!-.0-\[\]-~](?:[ -.0-\[\]-~]{0,253}[!-.0-\[\]-~])?")
# Unicode's bidirectional controls (UAX 9): they make a name look like another one.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Categories: control, surrogate, line separator, paragraph separator.
_UNSHOWABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def unshowable(text: str) -> str | None:
    """Say which kind of character makes `text` unfit to be shown, or None if it is fit."""
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        if character in _BIDI:
            return "must not hold characters that change the direction of text"
        if unicodedata.category(character) in _UNSHOWABLE:
            return "must not hold control characters or line breaks"
    return None


def clean_name(name: str) -> str:
    """Give the name in Unicode's composed form (NFC).

    Raises
    ------
    ValueError
        It is no name for a file; the text is the rule it breaks.
    """
    if _PLAIN.fullmatch(name):
        return name
    name = unicodedata.normalize("NFC", name)
    if not name or name.isspace():
        raise ValueError("must not be empty")
    if name in {".", ".."}:
        raise ValueError("must not be a dot or two dots alone")
    if not _SEPARATORS.isdisjoint(name):
        raise ValueError("must not hold a path separator (/ or \\)")
    if wrong := unshowable(name):
        raise ValueError(wrong)
    if name != name.strip():
        raise ValueError("must not begin or end with a space")
    if len(name.encode()) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} bytes in UTF-8")
    # The catalogue repairs what a source calls a file; what a caller asks for must need no repair.
    if safe_name(name) != name:
        raise ValueError("must hold only characters that are safe in a file name")
    return name


def clean_label(label: str, most: int) -> str:
    """Give a tag or key in composed form.

    Raises
    ------
    ValueError
        It is empty, has characters that cannot be shown, or is longer than `most` bytes.
    """
    if 0 < len(label) <= most and label.isascii() and label.isprintable() and not label.isspace():
        return label
    label = unicodedata.normalize("NFC", label)
    if not label or label.isspace():
        raise ValueError("must not be empty")
    if wrong := unshowable(label):
        raise ValueError(wrong)
    if len(label.encode()) > most:
        raise ValueError(f"must be at most {most} bytes in UTF-8")
    return label
