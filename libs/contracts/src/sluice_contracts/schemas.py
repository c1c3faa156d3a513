"""JSON Schemas (draft 2020-12) of everything that travels on the topics, made from the types.

They are published: `schemas/messages` holds a file for each, and `sluice_contracts.compatibility` says which
changes would break whoever relies on them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from sluice_contracts.cloudevents import schema_id
from sluice_contracts.topics import TOPICS, Topic

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]


def messages_of(topic: Topic) -> tuple[type[msgspec.Struct], ...]:
    """Give the classes of messages that a topic carries."""
    return tuple(getattr(topic.messages, "__args__", (topic.messages,)))


def published(topics: Iterable[Topic] = TOPICS) -> dict[str, type[msgspec.Struct]]:
    """Give every class of messages by its name, in the order of the topics.

    Raises
    ------
    ValueError
        Two are called the same.
    """
    found: dict[str, type[msgspec.Struct]] = {}
    for topic in topics:
        for kind in messages_of(topic):
            if found.setdefault(kind.__name__, kind) is not kind:
                raise ValueError(f"two messages are called {kind.__name__}")
    return found


def schema_of(kind: type[msgspec.Struct]) -> Json:
    """Give the schema of one class of messages; what it refers to is in its `$defs`."""
    # As it is when it is read again: a default that is a tuple here is a list there.
    shared = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(kind)))["$defs"]
    own = shared.pop(kind.__name__)
    schema: Json = {"$schema": DIALECT, "$id": schema_id(kind.__name__), **own}
    if shared:
        schema["$defs"] = dict(sorted(shared.items()))
    for each in (schema, *shared.values()):
        if "description" in each:
            each["description"] = inspect.cleandoc(each["description"])
    return schema


def schemas() -> dict[str, Json]:
    """Give the schema of every message by its name."""
    return {name: schema_of(kind) for name, kind in published().items()}
