"""What a running stack uses: the processor time and the highest memory of each of its parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from sluice_stack.stack import Stack

MIB = 2**20


@contextmanager
def peaks(stack: Stack) -> Iterator[Mapping[str, float]]:
    """Watch each service's resident memory; the mapping holds the highest seen, in MiB."""
    highest: dict[str, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for name, service in stack.services.items():
                try:
                    resident = psutil.Process(service.process.pid).memory_info().rss / MIB
                except psutil.NoSuchProcess:
                    continue
                highest[name] = max(highest.get(name, 0.0), resident)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def processor_seconds(stack: Stack) -> dict[str, float]:
    """Give the processor time that each part of the stack has used so far."""
    roots = {name: service.process.pid for name, service in stack.services.items()}
    roots |= {"kafka": stack.kafka.process.pid, "postgres": stack.postgres.process.pid}
    used = {}
    for name, pid in roots.items():
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
        times = [each.cpu_times() for each in family if each.is_running()]
        used[name] = sum(each.user + each.system for each in times)
    return used


def shown_shares(before: Mapping[str, float], after: Mapping[str, float], count: int) -> str:
    """Write what each of `count` things cost each part, in ms of processor time, the dearest first."""
    each = {name: (after[name] - before.get(name, 0.0)) / count * 1000 for name in after}
    ordered = sorted(each.items(), key=lambda pair: -pair[1])
    return f"{sum(each.values()):.2f} in all: " + ", ".join(f"{name} {cost:.2f}" for name, cost in ordered)


def shown_peaks(highest: Mapping[str, float]) -> str:
    """Write the peaks on one line."""
    return ", ".join(f"{name} {value:.0f}" for name, value in sorted(highest.items()) if name != "source")
