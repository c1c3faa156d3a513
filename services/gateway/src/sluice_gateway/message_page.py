"""A page about the messages on Kafka, made from the AsyncAPI document: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from sluice_contracts.words import counted

Json = Mapping[str, Any]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
:root{color-scheme:light dark}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}
td,th{border:1px solid #8886;padding:.2rem .5rem;text-align:left;vertical-align:top}
code{font-size:.9em}h2{margin-top:2.5rem}h3{margin-top:1.5rem}pre{white-space:pre-wrap}
"""


def page(document: Json) -> str:
    """Give the page of an AsyncAPI 3.0 document."""
    info, channels = document["info"], document["channels"]
    contents = "".join(f'<li><a href="#{escape(name)}"><code>{escape(name)}</code></a>' for name in channels)
    body = "".join(_channel(document, name, channel) for name, channel in channels.items())
    shared = "".join(_shared(document))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(info['title'])} messages</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}: messages on Kafka</h1>{_text(info['description'])}"
        '<p>The same as <a href="/asyncapi.json">AsyncAPI document</a>; over HTTP there is <a href="/docs">'
        f"the API</a>.</p><ul>{contents}</ul>{body}<h2>Types in them</h2>{shared}</html>\n"
    )


def _text(text: str) -> str:
    return "".join(f"<p>{_words(part)}</p>" for part in text.strip().split("\n\n"))


def _words(text: str) -> str:
    """Give a text with what is between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def _channel(document: Json, name: str, channel: Json) -> str:
    kafka = channel["bindings"]["kafka"]
    settings = kafka["topicConfiguration"]
    retention = settings["retention.ms"]
    kept = "for ever" if retention < 0 else counted(retention // 86_400_000, "day")
    compacted = ", the last of each key" if "compact" in settings["cleanup.policy"] else ""
    who = {"send": [], "receive": []}  # type: dict[str, list[str]]
    for operation in document["operations"].values():
        if operation["channel"]["$ref"] == f"#/channels/{name}":
            who[operation["action"]] += [tag["name"] for tag in operation["tags"]]
    messages = "".join(_message(document, message) for message in channel["messages"])
    return (
        f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2><p>{_words(channel["description"])} '
        f"{counted(kafka['partitions'], 'partition')}; kept {kept}{compacted}. "
        f"Written by {', '.join(who['send'])}; read by {', '.join(who['receive']) or 'others'}.</p>{messages}"
    )


def _message(document: Json, name: str) -> str:
    message = document["components"]["messages"][name]
    kind = f" <code>{escape(message['name'])}</code>" if message["name"] != name else ""
    schema = document["components"]["schemas"][name]
    return (
        f'<h3 id="{escape(name)}">{escape(name)}{kind}</h3>{_text(schema.get("description", ""))}'
        f'<p><a href="/schemas/messages/{escape(name)}.json">JSON Schema</a></p>{_fields(schema)}'
    )


def _shared(document: Json) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        if name not in document["components"]["messages"]:
            about = _text(schema.get("description", ""))
            yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{about}{_fields(schema)}'


def _fields(schema: Json) -> str:
    if "enum" in schema:
        return f"<p>One of {_values(schema)}.</p>"
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{_type(field)}"
        f"<td>{'yes' if name in schema.get('required', ()) else ''}<td>{_words(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>field<th>type<th>always<th>{rows}</table>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return _values(schema)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    return escape(str(schema.get("type", "anything")))


def _values(schema: Json) -> str:
    return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
