"""Keeps the table of jobs, from nothing but jobs.events: `job_table.py HOST:PORT` (needs kafka-python)."""

import json
import sys
from collections import Counter, defaultdict

from kafka import KafkaConsumer

STATES = ("cancelled", "failed", "skipped", "attached")  # Of what is said of an item, the last stands.
DONE = ("DocumentAttached", "DocumentsAttached", "PartSealed", "FileLoaded", "ImportSettled")
RANKS = dict.fromkeys(DONE, 3) | {"ItemCancelled": 0, "ItemFailed": 1}  # All other events are left alone.

jobs, items = defaultdict(dict), defaultdict(dict)
for record in KafkaConsumer("jobs.events", bootstrap_servers=sys.argv[1], auto_offset_reset="earliest"):
    event = json.loads(record.value)
    job, ranks = jobs[event["job"]], items[event["job"]]
    if event["type"] in ("JobPlanned", "JobFinished"):
        job |= {key: event[key] for key in ("kind", "items", "outcome") if key in event}
    for told in event.get("items", [event]) if event["type"] in RANKS else ():
        rank = 2 if told.get("outcome") == "skipped" else RANKS[event["type"]]
        ranks[told["item"]] = max(rank, ranks.get(told["item"], 0))
    rest = 0 if "outcome" in job else None  # What has no end of its own once its job has ended was cancelled.
    counts = Counter(ranks.get(item, rest) for item in range(job.get("items", 0)))
    print(json.dumps({event["job"]: job | {STATES[rank]: counts[rank] for rank in range(4)}}), flush=True)
