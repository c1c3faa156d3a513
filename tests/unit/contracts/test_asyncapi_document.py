"""The AsyncAPI document is one, by AsyncAPI's own schema, and says what the topics' declarations say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from sluice_contracts.asyncapi import document
from sluice_contracts.schemas import messages_of
from sluice_contracts.topics import TOPICS
from support.document_walk import references

ROOT = Path(__file__).parents[3]
SPECIFICATION = Path(__file__).parents[2] / "support" / "asyncapi" / "3.0.0.json.gz"


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "schemas/asyncapi.yaml").read_text("utf-8"))
    return found


def test_it_is_valid_by_the_schema_of_asyncapi(shown: dict[str, Any]) -> None:
    validator = Draft7Validator(json.loads(gzip.decompress(SPECIFICATION.read_bytes())))
    assert [error.message for error in validator.iter_errors(shown)] == []
    assert not validator.is_valid({**shown, "asyncapi": "4.0.0"})
    assert not validator.is_valid({**shown, "operations": {"x": {"action": "publish"}}})


def test_the_copy_in_the_repository_is_the_generated_one(shown: dict[str, Any]) -> None:
    assert shown == document(), "run: make schemas"


def test_every_topic_and_every_message_is_in_it(shown: dict[str, Any]) -> None:
    assert set(shown["channels"]) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        channel = shown["channels"][topic.name]
        assert set(channel["messages"]) == {kind.__name__ for kind in messages_of(topic)}
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions
        for service in topic.producers:
            assert shown["operations"][f"{service}.send.{topic.name}"]["action"] == "send"


def test_every_reference_leads_somewhere(shown: dict[str, Any]) -> None:
    for reference in set(references(shown)):
        target: Any = shown
        for step in reference.removeprefix("#/").split("/"):
            assert step in target, reference
            target = target[step]
