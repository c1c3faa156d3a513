"""The JSON Schemas of types, whichever library they belong to, each under one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeGuard, get_args, runtime_checkable

import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

REF = "#/components/schemas/{model}"
Json = dict[str, Any]
Use = tuple[Any, JsonSchemaMode]
"""A type, and whether it is taken (`validation`) or given (`serialization`)."""


@runtime_checkable
class Described(Protocol):
    """What is no type and has a schema of its own all the same."""

    @property
    def name(self) -> str:
        """What the schema is called."""

    def schema(self) -> Json:
        """Give the schema."""


def is_struct(kind: Any) -> bool:
    """Whether a type is one of msgspec's, or one of several of these."""
    kinds = get_args(kind) or (kind,)
    return all(isinstance(each, type) and issubclass(each, msgspec.Struct) for each in kinds)


def is_described(kind: Any) -> TypeGuard[Described]:
    """Whether it is no type but says itself what its schema is."""
    return not isinstance(kind, type) and isinstance(kind, Described)


class Schemas:
    """Collects the schemas of types.

    Parameters
    ----------
    uses
        Pydantic's models and what else it knows, msgspec's structs, and what is `Described`. Of several
        structs the tag says which it is.

    Raises
    ------
    ValueError
        Two are called the same.
    """

    def __init__(self, uses: Iterable[Use]) -> None:
        distinct = {(id(kind), mode): kind for kind, mode in uses}
        described = [kind for kind in distinct.values() if is_described(kind)]
        structs = {id(kind): kind for kind in distinct.values() if is_struct(kind)}
        models = {
            key: kind for key, kind in distinct.items() if not is_struct(kind) and not is_described(kind)
        }
        self._models, shared = TypeAdapter.json_schemas(
            [(number, mode, TypeAdapter(kind)) for (number, mode), kind in models.items()], ref_template=REF
        )
        self.shared: Json = {}
        self._add(shared.get("$defs", {}))
        shown, more = msgspec.json.schema_components(
            structs.values(), ref_template=REF.replace("model", "name")
        )
        self._structs = dict(zip(structs, shown, strict=True))
        self._add(more)
        self._add({each.name: each.schema() for each in described})

    def of(self, kind: Any, mode: JsonSchemaMode) -> Json:
        """Give the schema of a type as a request (`validation`) or an answer (`serialization`)."""
        if is_described(kind):
            return {"$ref": REF.format(model=kind.name)}
        return self._structs[id(kind)] if is_struct(kind) else self._models[id(kind), mode]

    def _add(self, named: Json) -> None:
        if clash := self.shared.keys() & named.keys():
            raise ValueError(f"two types are called {sorted(clash)}")
        self.shared.update(named)
