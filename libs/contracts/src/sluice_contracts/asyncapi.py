"""The AsyncAPI 3.0 document: every topic that others may read or that services share, and what travels on it.

Made from the declarations in `sluice_contracts.topics`, by which the topics themselves are created.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from sluice_contracts import cloudevents
from sluice_contracts.schemas import messages_of, published
from sluice_contracts.topics import TOPICS, Topic

Json = dict[str, Any]
_SCHEMAS = "#/components/schemas/{name}"
_MESSAGES = "#/components/messages/{name}"
_BINDING = "0.5.0"
_ABOUT = """\
Sluice moves FHIR health data in bulk as jobs on Kafka. Everyone may follow `jobs.events`, `jobs.state` and
`insight.alerts`; the other topics are between its services, and may carry identifiers.

Records are JSON. Those of `jobs.events` are CloudEvents 1.0 in binary mode: what an event is, is in headers.
Events may come more than once, and then with the same `ce_id`: fold sets of jobs and items, never counters.
Ignore fields, types and values that you do not know. Nothing in an event is health information.
"""


def document() -> Json:
    """Make the document."""
    kinds = published()
    _, made = msgspec.json.schema_components(kinds.values(), ref_template=_SCHEMAS)
    schemas: Json = msgspec.json.decode(msgspec.json.encode(made))
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    operations: Json = {}
    for topic in TOPICS:
        operations.update(_operations(topic))
    return {
        "asyncapi": "3.0.0",
        "id": "urn:sluice:messages",
        "info": {"title": "Sluice", "version": "2.0.0", "description": _ABOUT},
        "defaultContentType": cloudevents.CONTENT_TYPE,
        "servers": {
            "kafka": {
                "host": "{host}",
                "protocol": "kafka",
                "description": "The deployment's brokers.",
                "variables": {"host": {"default": "127.0.0.1:9092", "description": "`host:port`"}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": operations,
        "components": {
            "messages": {name: _message(name, topic) for topic in TOPICS for name in _names(topic)},
            "schemas": dict(sorted({**schemas, "CloudEventHeaders": _headers()}.items())),
        },
    }


def _names(topic: Topic) -> list[str]:
    return [kind.__name__ for kind in messages_of(topic)]


def _channel(topic: Topic) -> Json:
    retention = -1 if topic.retention is None else round(topic.retention.total_seconds() * 1000)
    return {
        "address": topic.name,
        "description": f"Keyed by {topic.key}.",
        "messages": {name: {"$ref": _MESSAGES.format(name=name)} for name in _names(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": retention,
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations(topic: Topic) -> Json:
    """Give who of our services does what; everyone else's part is the counterpart."""
    found: Json = {}
    for action, services in (("send", topic.producers), ("receive", topic.consumers)):
        for service in services:
            if " " not in service:  # others are named in words
                found[f"{service}.{action}.{topic.name}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{topic.name}"},
                    "tags": [{"name": service}],
                }
    return found


def _message(name: str, topic: Topic) -> Json:
    kind = published((topic,))[name]
    about = inspect.cleandoc(kind.__doc__ or "")
    message: Json = {
        "name": cloudevents.type_of(name) if topic.cloudevents else name,
        "title": name,
        "summary": about.partition("\n")[0],
        "contentType": cloudevents.CONTENT_TYPE,
        "payload": {"$ref": _SCHEMAS.format(name=name)},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}
        },
    }
    if topic.cloudevents:
        message["headers"] = {"$ref": _SCHEMAS.format(name="CloudEventHeaders")}
    return message


def _headers() -> Json:
    texts = {
        "content-type": {"const": cloudevents.CONTENT_TYPE},
        "ce_specversion": {"const": cloudevents.SPEC_VERSION},
        "ce_source": {"const": cloudevents.SOURCE},
        "ce_type": {"description": "What happened, such as `org.sluice.job.finished`."},
        "ce_id": {"description": "The same whenever the same is told again."},
        "ce_subject": {"description": "The job, or the job and its item: `JOB/items/3`."},
        "ce_time": {"format": "date-time", "description": "When it happened."},
        "ce_dataschema": {"format": "uri", "description": "The `$id` of the event's JSON Schema."},
        "traceparent": {"description": "The trace that it is part of (W3C Trace Context), if any."},
    }
    return {
        "title": "CloudEventHeaders",
        "description": "A CloudEvent's attributes, as Kafka's protocol binding has them in binary mode.",
        "type": "object",
        "properties": {name: {"type": "string", **text} for name, text in texts.items()},
        "required": [name for name in texts if name != "traceparent"],
    }
