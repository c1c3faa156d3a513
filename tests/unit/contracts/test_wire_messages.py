"""Messages survive the wire, and bad ones are told apart by what is wrong with them."""

import pytest

from sluice_contracts.commands import StartDocumentImport, WritePart
from sluice_contracts.events import DocumentFetched, DocumentsFetched, Fetched, JobEvent, JobPlanned, each
from sluice_contracts.ids import MOST_IN_LOT
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT, JOBS_EVENTS, TOPICS
from sluice_contracts.wire import Decoder, MalformedMessageError, UnknownTypeError, encode


def test_an_event_reads_back_as_it_was_written() -> None:
    event = DocumentFetched(job="j", at=1.5, item=3, size=10)
    assert Decoder[JobEvent](JOBS_EVENTS.messages).decode(encode(event)) == event


@pytest.mark.parametrize("count", [0, 1, MOST_IN_LOT, MOST_IN_LOT + 1])
def test_an_event_about_several_items_is_about_some_and_not_too_many(count: int) -> None:
    items = tuple(Fetched(item=item, size=item) for item in range(count))
    event = DocumentsFetched(job="j", at=1.5, items=items)
    decoder = Decoder[JobEvent](JOBS_EVENTS.messages)
    if not 0 < count <= MOST_IN_LOT:
        with pytest.raises(MalformedMessageError):
            decoder.decode(encode(event))
        return
    assert decoder.decode(encode(event)) == event
    assert each(event) == [DocumentFetched(job="j", at=1.5, item=item, size=item) for item in range(count)]


def test_a_type_nobody_knows_yet_is_told_apart_from_damage() -> None:
    decoder = Decoder[JobEvent](JOBS_EVENTS.messages)
    with pytest.raises(UnknownTypeError):
        decoder.decode(b'{"type":"SomethingNewer","job":"j","at":1}')


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"\xff\xfe", b'{"job":"j"}', b'{"type":"JobPlanned","job":7}', b'{"type":1}'],
)
def test_damage_is_malformed_and_never_unknown(data: bytes) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        Decoder[JobEvent](JOBS_EVENTS.messages).decode(data)
    assert not isinstance(caught.value, UnknownTypeError)


def test_an_error_text_never_repeats_what_the_message_held() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        Decoder[JobEvent](JOBS_EVENTS.messages).decode(
            b'{"type":"JobPlanned","job":"Jane Doe","at":"Jane Doe"}'
        )
    assert "Jane" not in str(caught.value)


def test_a_topic_of_one_message_class_knows_its_own_type() -> None:
    decoder = Decoder[WritePart](WritePart)
    assert decoder.decode(b'{"type":"WritePart","job":"j","item":0}') == WritePart(job="j", item=0)
    with pytest.raises(UnknownTypeError):
        decoder.decode(b'{"type":"JobPlanned","job":"j","item":0}')


def test_no_two_topics_share_a_name_and_every_name_is_derived_once() -> None:
    names = (
        [t.name for t in TOPICS] + [t.dead for t in TOPICS] + [t.retry(r) for t in TOPICS for r in t.retries]
    )
    assert len(names) == len(set(names))


def test_commands_and_events_are_frozen() -> None:
    with pytest.raises(AttributeError):
        WritePart(job="j", item=0).item = 1  # type: ignore[misc]
    assert StartDocumentImport.__struct_config__.frozen
    assert JobPlanned.__struct_config__.frozen
    assert JOBS_DOCUMENT_IMPORT.retries
