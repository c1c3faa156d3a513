"""Resources as nobody should send them: JSON, and named, but with elements of any shape."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

DEEP = b"[" * 400 + b"]" * 400
# What JSON may have and Python's decoders may not, beside what they may.
RAW = st.sampled_from(
    [b"1e999", b"-0", b"1E-999", b"9" * 300, b"9" * 5000, b'"\\ud83d\\ude00"', b'"\\u0000"', DEEP]
).map(msgspec.Raw)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=8).filter(lambda text: text.isprintable()) | st.sampled_from(
    [
        *(
            "Patient/p",
            "Binary/b",
            "#x",
            "urn:uuid:1",
            "SUBSETTED",
            '"meta"',
            "\\",
            "2024-02-30",
            "9999-12-31",
        ),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-14:00", "2024-01-01T00:00:00Z", "+1", "\x00"),
    ]
)
NAMES = st.sampled_from(
    [
        *("reference", "url", "code", "system", "value", "coding", "text", "start", "end", "tag", "entity"),
        *(
            "lastUpdated",
            "versionId",
            "identifier",
            "display",
            "family",
            "given",
            "attachment",
            "low",
            "unit",
        ),
        *("data", "contentType", "securityContext", "resourceType", "meta", "id", "event", "repeat", "who"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | TEXTS | RAW,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


def odd(type_: str, *names: str) -> st.SearchStrategy[bytes]:
    """Give lines with resources of a type whose elements of these names may have any shape."""
    some = st.dictionaries(st.sampled_from(names) | NAMES, VALUES, max_size=6)
    meta = st.dictionaries(NAMES, VALUES, max_size=3)

    def line(elements: dict[str, Any], meta: dict[str, Any] | None) -> bytes:
        rest = {name: value for name, value in elements.items() if name not in ("id", "resourceType", "meta")}
        told = {} if meta is None else {"meta": meta}
        return msgspec.json.encode({"resourceType": type_, "id": "x", **told, **rest})

    return st.builds(line, some, st.none() | meta)


LINES = (
    b'{"resourceType":"Patient","id":"odd","meta":{"tag":7},"link":"x","gender":["male"],"contact":1e999}',
    b'{"resourceType":"Observation","id":"odd1","subject":[{"reference":"Patient/p"}],"code":5,"status":{}}',
    b'{"resourceType":"Observation","id":"odd2","subject":7,"effectiveDateTime":[1],"meta":{"tag":[null,"x"]}}',
    b'{"resourceType":"Provenance","id":"odd1","target":{"reference":"Patient/p"},"recorded":5}',
    b'{"resourceType":"Provenance","id":"odd2","target":[1,{"reference":["Patient/p"]}],"recorded":[]}',
    (
        b'{"resourceType":"DocumentReference","id":"odd","subject":{"reference":"Patient/p"},'
        b'"content":[{"attachment":{"url":7}},{"attachment":"Binary/b"},3]}'
    ),
    b'{"resourceType":"Group","id":"odd","type":"person","member":[3,{"entity":7}],"quantity":1e999}',
    b'{"resourceType":"Binary","id":"odd","contentType":7,"data":[],"securityContext":"Patient/p"}',
    b'{"resourceType":"ValueSet","id":"odd","url":{"a":1},"version":[]}',
    b'{"resourceType":"Patient","id":"early","meta":{"lastUpdated":"0001-01-01T00:00:00+14:00"}}',
)
"""One resource a line, each odd in its own way, and all of them such as the store takes."""

REFUSED = (
    b'{"resourceType":"Patient","id":7}',
    b'{"resourceType":"Patient","id":"no-meta","meta":"x"}',
    b'{"resourceType":["Patient"],"id":"no-type"}',
)
"""Lines that cannot be named or kept: each is reported by itself."""
