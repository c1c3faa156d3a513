"""Names are safe to store, to show and to save, whatever they were."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_storage.catalogue.naming import LONGEST, extension, renamed, safe_name

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ANY = st.text(
    st.one_of(st.characters(), st.sampled_from(f"/\\.:\x00\n\t\u2028\ufeff\ud800 \u00a0a\u0301_{_BIDI}"))
)


@pytest.mark.fuzz
@given(_ANY)
def test_whatever_is_asked_for_a_name_is_safe_or_none(raw: str) -> None:
    name = safe_name(raw)
    if name is None:
        return
    assert name not in {"", ".", ".."}
    assert len(name.encode()) <= LONGEST
    assert name == unicodedata.normalize("NFC", name)
    assert name == name.strip()
    assert not set(name) & set("/\\\u2044\u2215\ufeff" + _BIDI)
    assert not {unicodedata.category(character) for character in name} & {"Cc", "Cs", "Zl", "Zp"}


@given(_ANY)
def test_a_safe_name_stays_as_it_is(raw: str) -> None:
    name = safe_name(raw)
    assert name is None or safe_name(name) == name


@given(_ANY.map(safe_name).filter(bool), st.integers(1, 10**9), st.integers(1, 10**9))
def test_renaming_gives_a_safe_name_of_its_own_for_every_number(name: str, one: int, other: int) -> None:
    first, second = renamed(name, one), renamed(name, other)
    assert safe_name(first) == first
    assert first != name
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a\\b/c", "a_b_c"),
        ("fdp.\u202eexe", "fdp.exe"),
        ("  spaced\u00a0out\u3000 ", "spaced out"),
        ("line\r\nbreak\x00", "linebreak"),
        ("e\u0301tude", "\u00e9tude"),
        (".hidden", ".hidden"),
        ("\u0646\u200c\u0627.pdf", "\u0646\u200c\u0627.pdf"),
        ("\u200f\n", None),
        ("..", None),
        (" . ", None),
    ],
)
def test_names_by_example(raw: str, name: str | None) -> None:
    assert safe_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "ending"),
    [
        ("x" * 300 + ".pdf", ".pdf"),
        ("\u00e9" * 200 + ".nii.gz", ".nii.gz"),
        ("a." + "b" * 300, "bbb"),
        ("\U0001f600" * 100, ""),
    ],
)
def test_a_long_name_is_cut_before_its_extension_and_between_characters(raw: str, ending: str) -> None:
    name = safe_name(raw) or ""
    assert LONGEST - 3 <= len(name.encode()) <= LONGEST
    assert name.endswith(ending)
    assert raw.startswith(name.removesuffix(ending))


def test_autorename_puts_the_number_in_front() -> None:
    assert [renamed("name.ext", number) for number in (1, 2)] == ["_1_name.ext", "_2_name.ext"]
    assert renamed("x" * 255, 12) == "_12_" + "x" * 251
    assert extension("archive.tar.gz") == ".tar.gz"
    assert extension("v1.2 final.pdf") == ".pdf"
    assert extension("plain") == extension(".hidden") == extension("dot.") == ""
