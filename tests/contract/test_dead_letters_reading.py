"""Looking at dead letters on a real Kafka takes none of them; what was redriven is not counted any more."""

from sluice_streaming.letters_reading import dead_topics
from sluice_streaming.messages import Outgoing
from sluice_streaming.redrive import redrive
from support.streams import KafkaLog


async def test_what_waits_is_counted_and_the_newest_are_shown_first(kafka: str) -> None:
    log = KafkaLog(kafka)
    topic = await log.topic()
    producer = log.backend().producer()
    await producer.start()
    headers = [
        (
            ("sluice-code", b"malformed"),
            ("sluice-sha256", b"ab"),
            ("sluice-died", str(1_790_000_000 + n).encode()),
        )
        for n in range(5)
    ]
    await producer.send([Outgoing(topic.dead, b"k", b"Jane Roe", each) for each in headers])
    await producer.stop()
    for _ in range(2):
        (found,) = await dead_topics(kafka, [topic], newest=3)
        assert (found.topic, found.waiting) == (topic.name, 5)
        assert [letter.died for letter in found.letters] == [1_790_000_004, 1_790_000_003, 1_790_000_002]
        assert "Jane" not in repr(found)
    assert await redrive(log.backend(), topic, 4) == 4
    (left,) = await dead_topics(kafka, [topic])
    assert (left.waiting, [letter.died for letter in left.letters]) == (1, [1_790_000_004])
    assert [letter.origin_topic for letter in left.letters] == [topic.dead]
