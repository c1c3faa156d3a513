"""Which changes of a published schema break somebody.

Records live longer than the version that wrote them, and others read what we write. So what was valid must
stay valid, and what readers could rely on must stay true: a field is not removed, made required, or no longer
always there; a type is neither narrowed nor replaced nor joined by another; a value of an enumeration is not
removed; what a missing field means does not change. New optional fields, new values of an enumeration and
wider bounds are no break: readers ignore fields and values that they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
# Of bounds the greater is the narrower, or the lesser.
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "contentEncoding", "multipleOf", "const")
_NOTHING = object()


def breaks(old: Json, new: Json) -> list[str]:
    """Say what breaks when the schema `old` becomes `new`: where, and what; nothing if all is well.

    Both are whole documents whose references are within them.
    """
    return list(_Comparison(old, new).compare(old, new, "$"))


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str]] = set()

    def compare(self, old: Json, new: Json, path: str) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in self._seen:
                return  # a type within itself, or one that was looked at elsewhere
            self._seen.add(pair)
        olds, news = self._branches(old, self._old), self._branches(new, self._new)
        for kind, branch in olds.items():
            if kind in news:
                yield from self._same_kind(branch, news[kind], path)
            else:
                yield f"{path}: may not be {kind} any more"
        for kind in news.keys() - olds.keys():
            yield f"{path}: may now be {kind}"
        before, after = old.get("default", _NOTHING), new.get("default", _NOTHING)
        if before is not _NOTHING and after is not _NOTHING and before != after:
            yield f"{path}: means something else when it is missing"

    def _branches(self, schema: Json, document: Json) -> dict[str, Json]:
        """Give the alternatives of a schema by what kind each is."""
        found: dict[str, Json] = {}
        for alternative in schema.get("anyOf", [schema]):
            resolved = _resolved(alternative, document)
            found[_kind(resolved)] = resolved
        return found

    def _same_kind(self, old: Json, new: Json, path: str) -> Iterator[str]:
        yield from _narrowed(old, new, path)
        if gone := [value for value in old.get("enum", []) if "enum" in new and value not in new["enum"]]:
            yield f"{path}: may not be {', '.join(map(str, gone))} any more"
        if "enum" in new and "enum" not in old:
            yield f"{path}: is limited to some values"
        yield from self._fields(old, new, path)
        yield from self._entries(old, new, path)

    def _fields(self, old: Json, new: Json, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name in after:
                yield from self.compare(schema, after[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: is removed"
        was, now = set(old.get("required", ())), set(new.get("required", ()))
        yield from (f"{path}.{name}: is required" for name in sorted(now - was))
        yield from (
            f"{path}.{name}: is not always there any more" for name in sorted((was - now) & set(after))
        )

    def _entries(self, old: Json, new: Json, path: str) -> Iterator[str]:
        for keyword in ("items", "additionalProperties"):
            before, after = old.get(keyword, True), new.get(keyword, True)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self.compare(before, after, f"{path}[{keyword}]")
            elif before is True and after is not True:
                yield f"{path}[{keyword}]: is limited"
            elif before is not after and after is not True:
                yield f"{path}[{keyword}]: is limited otherwise"


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        schema = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _kind(schema: Json) -> str:
    if "type" in schema:
        return str(schema["type"])
    values = schema.get("enum", ())
    if values:
        return "integer" if all(isinstance(value, int) for value in values) else "string"
    return "anything"


def _narrowed(old: Json, new: Json, path: str) -> Iterator[str]:
    for words, sign in ((_LEAST, 1), (_MOST, -1)):
        for word in words:
            before, after = old.get(word), new.get(word)
            if after is not None and (before is None or sign * after > sign * before):
                yield f"{path}: {word} is {after}"
    for word in _EXACT:
        if word in new and old.get(word) != new[word]:
            yield f"{path}: {word} is {new[word]}"
