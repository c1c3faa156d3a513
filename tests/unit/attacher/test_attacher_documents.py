"""Which content of a DocumentReference becomes the file, and what it is called."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_attacher.documents import Chosen, choose, media_type
from sluice_attacher.filenames import extension_of, file_name
from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_storage.catalogue.naming import safe_name


def document(*attachments: Any, **fields: Any) -> bytes:
    content = [{"attachment": attachment} for attachment in attachments]
    return msgspec.json.encode({"resourceType": "DocumentReference", "content": content, **fields})


def anything(_content_type: str) -> bool:
    return True


def only(*types: str) -> Any:
    return lambda content_type: content_type in types


def code_of(body: bytes, permits: Any = anything) -> ItemError:
    with pytest.raises(SourceFailure) as failed:
        choose(body, permits)
    return failed.value.code


def test_the_first_content_that_the_policy_allows_is_chosen_and_the_others_are_counted() -> None:
    body = document(
        {"contentType": "text/html", "url": "Binary/1"},
        {"contentType": "application/pdf; charset=x", "url": "Binary/2", "title": "Report", "size": 7},
        {"contentType": "application/pdf", "data": "QUJD"},
        {"contentType": "application/pdf"},
        id="d1",
    )
    chosen = choose(body, only("application/pdf"))
    assert (chosen.content.url, chosen.content.content_type) == ("Binary/2", "application/pdf")
    assert (chosen.content.title, chosen.content.size, chosen.document, chosen.others) == (
        "Report",
        7,
        "d1",
        2,
    )


def test_a_content_without_a_type_is_chosen_only_if_no_other_is_allowed() -> None:
    unknown, html = {"url": "Binary/1"}, {"contentType": "text/html", "url": "Binary/2"}
    assert choose(document(unknown, html), only("text/html")).content.url == "Binary/2"
    assert choose(document(html, unknown), only("application/pdf")).content.url == "Binary/1"


def test_inline_data_wins_over_a_url_for_the_same_content() -> None:
    chosen = choose(document({"data": "QUJD", "url": "Binary/1"}), anything)
    assert chosen.content.url is None
    assert bytes(chosen.content.data) == b'"QUJD"'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (document(), ItemError.NO_CONTENT),
        (b'{"resourceType":"DocumentReference"}', ItemError.NO_CONTENT),
        (document({"contentType": "text/plain"}), ItemError.NO_CONTENT),
        (document({"data": "", "url": ""}), ItemError.NO_CONTENT),
        (document({"data": 5, "url": ["x"]}), ItemError.NO_CONTENT),
        (b'{"content":[{}]}', ItemError.NO_CONTENT),
        (b'{"content":5}', ItemError.NOT_JSON),
        (b"<html>", ItemError.NOT_JSON),
        (b"", ItemError.NOT_JSON),
        (b'{"content":[{"attachment":{"title":"\xff"}}]}', ItemError.NOT_JSON),
    ],
)
def test_a_document_without_a_content_says_what_is_wrong(body: bytes, code: ItemError) -> None:
    assert code_of(body) is code


def test_a_document_whose_contents_are_all_refused_says_so() -> None:
    body = document({"contentType": "text/html", "url": "Binary/1"})
    assert code_of(body, only("image/png")) is ItemError.CONTENT_REFUSED


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (5, 5),
        ("5", 5),
        (0, 0),
        (-1, None),
        (True, None),
        ("1e3", None),
        (1.5, None),
        (None, None),
        ("9" * 30, None),
    ],
)
def test_a_size_is_read_as_r4_and_r5_write_it(size: Any, read: int | None) -> None:
    assert choose(document({"url": "x", "size": size}), anything).content.size == read


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.fuzz
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["contentType", "url", "title", "size", "hash", "data"]), json_values
        ),
        max_size=3,
    ),
    json_values,
)
def test_no_document_breaks_the_reader(attachments: list[Any], document_id: Any) -> None:
    body = document(*attachments, id=document_id)
    try:
        chosen = choose(body, anything)
    except SourceFailure:
        return
    assert chosen.others < len(attachments)
    name = file_name(None, chosen, chosen.content.content_type)
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("application/fhir+json", "application/fhir+json"),
        ("pdf", None),
        ("a/b/c", None),
        ("text/pl\x00ain", None),
        ("x" * 200 + "/y", None),
        ("", None),
    ],
)
def test_media_types(text: str, read: str | None) -> None:
    assert media_type(text) == read


def chosen_of(**attachment: Any) -> Chosen:
    return choose(document({"url": "Binary/1", **attachment}, id="doc-1"), anything)


@pytest.mark.parametrize(
    ("asked", "attachment", "name"),
    [
        ("mine.txt", {"title": "Title", "url": "x/y.pdf"}, "mine.txt"),
        (None, {"title": "Title", "url": "x/y.pdf"}, "Title"),
        ("\u202e", {"title": "/../", "url": "x/y.pdf"}, "_.._"),
        (None, {"url": "https://h.org/files/a%20b.pdf?sig=secret#x"}, "a b.pdf"),
        (None, {"url": "https://h.org/files/%2e%2e%2fx/"}, ".._x"),
        (None, {"url": "Binary/77"}, "77"),
        (None, {"url": "https://h.org/"}, "doc-1.pdf"),
        (None, {"url": "https://h.org?x=secret"}, "doc-1.pdf"),
        (None, {"url": "..", "title": "\n"}, "doc-1.pdf"),
        (None, {"url": None, "data": "QUJD"}, "doc-1.pdf"),
    ],
)
def test_a_file_is_named_by_caller_title_url_or_document(
    asked: str | None, attachment: dict[str, Any], name: str
) -> None:
    assert file_name(asked, chosen_of(**attachment), "application/pdf") == name


def test_a_document_without_an_id_still_gets_a_name() -> None:
    chosen = choose(document({"data": "QUJD"}), anything)
    assert file_name(None, chosen, "image/jpeg") == "document.jpg"
    assert file_name(None, chosen, None) == "document"


@pytest.mark.parametrize(
    ("content_type", "extension"),
    [
        ("application/pdf", ".pdf"),
        ("text/plain", ".txt"),
        ("image/tiff", ".tiff"),
        ("x/unknown", ""),
        (None, ""),
    ],
)
def test_extensions_do_not_depend_on_the_host(content_type: str | None, extension: str) -> None:
    assert extension_of(content_type) == extension
