"""The table of jobs, from nothing but jobs.events: `python job_table.py HOST:PORT` (needs aiokafka)."""

import asyncio
import json
import sys
from collections import Counter, defaultdict

from aiokafka import AIOKafkaConsumer

TOOK_EFFECT = ("DocumentAttached", "DocumentsAttached", "PartSealed", "FileLoaded", "ImportSettled")
RANKS = {"ItemCancelled": 1, "ItemFailed": 2, **dict.fromkeys(TOOK_EFFECT, 4)}  # "skipped" is 3
COLUMNS = {"cancelled": 1, "failed": 2, "skipped": 3, "attached": 4}


def fold(job: dict, event: dict) -> None:
    """Learn from an event; in any order, as often as you like. What it does not know it leaves alone."""
    if event["type"] in RANKS:
        for told in event.get("items", [event]):
            rank = 3 if told.get("outcome") == "skipped" else RANKS[event["type"]]
            job[told["item"]] = max(rank, job.get(told["item"], 0))
    job.setdefault(event["type"], event)


def row(job: dict) -> dict:
    """Give a job's row; of a cancelled job the items that have not ended will not."""
    plan, open_rank = job["JobPlanned"], 1 if "JobCancelled" in job else 0
    counts = Counter(job.get(item, open_rank) for item in range(plan["items"]))
    outcome = job.get("JobFinished", {}).get("outcome")
    shown = {"kind": plan["kind"], "items": plan["items"], "outcome": outcome}
    return {**shown, **{name: counts[rank] for name, rank in COLUMNS.items()}}


async def main(bootstrap: str) -> None:
    """Read the topic to its end and print the table."""
    consumer = AIOKafkaConsumer("jobs.events", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    jobs, ends = defaultdict(dict), await consumer.end_offsets(list(consumer.assignment()))
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for event in (json.loads(record.value) for record in records):
                fold(jobs[event["job"]], event)
    await consumer.stop()
    print(json.dumps({name: row(job) for name, job in jobs.items() if "JobPlanned" in job}, indent=2))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
