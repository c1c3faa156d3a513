"""What is published about messages is what the types say, and the examples are what both take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from sluice_contracts import wire
from sluice_contracts.schemas import messages_of, published, schema_of
from sluice_contracts.topics import TOPICS
from sluice_stack.schemas import drift, file_of, written

SCHEMAS = Path(__file__).parents[3] / "schemas"
EXAMPLES = SCHEMAS / "examples" / "messages"
NAMES = list(published())


def validator(name: str) -> Draft202012Validator:
    schema = json.loads(file_of(SCHEMAS, name).read_text("utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return found


def test_the_copies_in_the_repository_are_the_generated_ones() -> None:
    found = drift(SCHEMAS, {name: schema_of(kind) for name, kind in published().items()})
    assert (found.broken, list(found.files)) == ([], []), "run: make schemas"


def test_there_is_an_example_of_every_message_and_of_nothing_else() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_by_its_schema_and_by_its_type(name: str) -> None:
    Draft202012Validator.check_schema(schema_of(published()[name]))
    validator(name).validate(example(name))
    topic = next(topic for topic in TOPICS if published()[name] in messages_of(topic))
    read = wire.Decoder[Any](topic.messages).decode(json.dumps(example(name)).encode())
    assert type(read).__name__ == name
    # What is written is valid as well: nothing that the type leaves out is required.
    validator(name).validate(json.loads(wire.encode(read)))


@pytest.mark.parametrize("name", NAMES)
def test_schema_and_type_agree_on_what_may_not_be_missing_or_of_another_type(name: str) -> None:
    sound, kind = example(name), published()[name]
    for field in sound:
        for spoilt in ({k: v for k, v in sound.items() if k != field}, {**sound, field: {"x": 1}}):
            by_type = True
            try:
                msgspec.json.decode(json.dumps(spoilt), type=kind)
            except msgspec.ValidationError:
                by_type = False
            try:
                validator(name).validate(spoilt)
            except ValidationError:
                assert not by_type or field == "type", f"the type takes what the schema does not: {field}"
            else:
                assert by_type, f"the schema takes what the type does not: {field}"


def publish(folder: Path, *names: str) -> dict[str, Any]:
    """Publish one schema under these names, as it was before a change; gives the schema."""
    schema = schema_of(published()["JobFinished"])
    (folder / "messages").mkdir()
    for name in names:
        (folder / "messages" / f"{name}.json").write_text(
            json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        )
    (folder / "published.txt").write_text("".join(f"{name}.json\n" for name in names))
    (folder / "asyncapi.yaml").write_text(written())
    return schema


def test_a_schema_that_would_break_somebody_is_not_written_over_the_published_one(tmp_path: Path) -> None:
    schema = publish(tmp_path, "JobFinished", "JobForgotten")
    changed = json.loads(json.dumps(schema))
    del changed["properties"]["failed"]
    found = drift(tmp_path, {"JobFinished": changed})
    assert found.broken == [
        "JobFinished: $.failed: is removed",
        "JobForgotten: is no message any more; records of it may still be read",
    ]


@pytest.mark.parametrize(
    "kept", [["JobFinished", "JobForgotten"], ["JobFinished"]], ids=["it", "its type too"]
)
def test_a_published_schema_is_missed_when_it_is_gone(tmp_path: Path, kept: list[str]) -> None:
    schema = publish(tmp_path, "JobFinished", "JobForgotten")
    (tmp_path / "messages" / "JobForgotten.json").unlink()
    found = drift(tmp_path, dict.fromkeys(kept, schema))
    assert found.broken == ["JobForgotten.json: was published and is gone; records of it may still be read"]
    assert tmp_path / "published.txt" not in found.files


def test_what_is_published_newly_is_listed(tmp_path: Path) -> None:
    schema = publish(tmp_path, "JobFinished")
    found = drift(tmp_path, {"JobFinished": schema, "JobBegun": schema})
    assert found.broken == []
    assert found.files[tmp_path / "published.txt"] == "JobBegun.json\nJobFinished.json\n"
