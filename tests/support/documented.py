"""Requests made from an OpenAPI document by Schemathesis, and what must hold of their answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

T = TypeVar("T")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def kept(name: str) -> dict[str, Any]:
    """Give a document as it is kept in `schemas/`."""
    path = Path(__file__).parents[2] / "schemas" / name
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def operations(document: dict[str, Any]) -> dict[str, Any]:
    """Give a document's operations by their names."""
    found: dict[str, Any] = {}
    for each in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = each.ok()  # type: ignore[union-attr] # the document is sound, or this fails
        found[operation.definition.raw["operationId"]] = operation
    return found


def cases(operation: Any) -> st.SearchStrategy[Any]:
    """Give requests for an operation, sound ones and such as are not, where there can be any."""
    sound = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not (operation.path_parameters or operation.query or operation.headers or operation.body):
        return sound  # type: ignore[no-any-return]
    return st.one_of(sound, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


@contextmanager
def served_apart(
    opened: AbstractAsyncContextManager[T], name: str
) -> Iterator[tuple[T, asyncio.AbstractEventLoop]]:
    """Have what is opened serve in a thread of its own, since Schemathesis waits for its answers.

    Gives it and its event loop, where everything that concerns it has to be run.
    """
    ready, found = threading.Event(), list[T]()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with opened as served:
            found.append(served)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name=name)
    thread.start()
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, ended.set)
        assert ready.wait(30)
        yield found[0], loop
