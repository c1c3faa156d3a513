"""A deployment looked over as a whole: each thing is asked at once, and said in plain words with what to do.

What is asked of Kafka, Postgres and sources is in `sluice_gateway.probes`; here it is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sluice_contracts.words import counted
from sluice_fhir.condition_store import Shown
from sluice_fhir.sources import Source
from sluice_gateway.sources import health_of
from sluice_streaming.topics_admin import Misfit
from sluice_streaming.topics_lag import TopicLag

MUCH_LAG = 10_000
SKEW_SECONDS = 30.0
# Of a disk, how much is free.
NEARLY_FULL, FULL = 0.1, 0.02


class State(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing: `text` says it, `advice` what to do, empty if nothing."""

    name: str
    state: State
    text: str
    advice: str = ""


OTHER_SECRET = Finding(
    "secret",
    State.FAILING,
    "the credentials of sources do not open: SLUICE_SECRET is not what they were sealed under",
    "Give every service the secret of before; where it was replaced, behind the newest one.",
)


Probe = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one thing, and gives what it found; any exception means that it does not answer."""


class Checkup:
    """Looks over everything.

    Parameters
    ----------
    probes
        What to look at, by name.
    patience
        Seconds to wait for an answer.
    """

    def __init__(self, probes: Mapping[str, Probe], *, patience: float = 15.0) -> None:
        self._probes = probes
        self._patience = patience

    async def __call__(self) -> list[Finding]:
        """Give what was found, in the order of the probes."""
        found = await asyncio.gather(*(self._look(name, probe) for name, probe in self._probes.items()))
        return [finding for findings in found for finding in findings]

    async def _look(self, name: str, probe: Probe) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(self._patience):
                return await probe()
        except Exception as error:  # whatever is wrong with it, it is told
            text = f"does not answer ({type(error).__name__})"
            advice = "See that it runs and that the gateway reaches it; the gateway's log may say more."
            return [Finding(name, State.FAILING, text, advice)]


def judged_answers(answers: Mapping[str, str]) -> list[Finding]:
    """Judge what the gateway's own readiness says."""
    advice = "See that it runs, and that the gateway's settings name its address."
    here = {name: Finding(name, State.OK, "answers") for name in answers}
    away = {name: Finding(name, State.FAILING, "is away", advice) for name in answers}
    return [here[name] if answer == "ok" else away[name] for name, answer in answers.items()]


def judged_objects(*, answers: bool) -> list[Finding]:
    """Judge whether the object store answers."""
    if answers:
        return [Finding("objects", State.OK, "the object store answers")]
    text = "the object store does not answer, or its folder is not there"
    advice = "See that it runs or that its disk is mounted, and that SLUICE_OBJECTS is right everywhere."
    return [Finding("objects", State.FAILING, text, advice)]


def judged_migrations(missing: Sequence[str], unknown: Sequence[str]) -> list[Finding]:
    """Judge which migrations the database has, beside those of this version."""
    if missing:
        text = f"the database lacks {counted(len(missing), 'migration')}, the first is {missing[0]}"
        return [Finding("migrations", State.FAILING, text, "Run sluice-migrate, before the services start.")]
    if unknown:
        text = f"the database has {counted(len(unknown), 'migration')} that this version does not know"
        return [Finding("migrations", State.WARNING, text, "Replace the gateway by the newer version too.")]
    return [Finding("migrations", State.OK, "the database has the newest schema")]


def judged_keys(lost: Mapping[str, int]) -> list[Finding]:
    """Judge master keys; `lost` is how many data keys of what they do not open, each kind by its plural."""
    found = [counted(count, what.removesuffix("s")) for what, count in lost.items() if count]
    if not found:
        return [Finding("master keys", State.OK, "they open everything that is encrypted")]
    text = f"{' and '.join(found)} cannot be read: the gateway lacks the master key"
    advice = "Give gateway, attacher and exporter the same SLUICE_MASTER_KEYS, former ones behind the newest."
    return [Finding("master keys", State.FAILING, text, advice)]


def judged_topics(misfits: Sequence[Misfit]) -> list[Finding]:
    """Judge topics that are not as declared."""
    if not misfits:
        return [Finding("topics", State.OK, "all are there, with the settings they need")]
    worst = State.FAILING if any(each.missing for each in misfits) else State.WARNING
    listed = "; ".join(f"{each.name} {each.problem}" for each in misfits[:5])
    more = f" and {len(misfits) - 5} more" if len(misfits) > 5 else ""
    return [Finding("topics", worst, listed + more, "Run sluice-topics create.")]


def judged_lag(topics: Sequence[TopicLag], readers: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Judge what waits; `readers` are the services that read each topic."""
    findings = []
    for topic in topics:
        for reader in readers.get(topic.name, ()):
            lag = topic.groups.get(reader)
            if lag is None and topic.records:
                text = f"{topic.name} has {counted(topic.records, 'record')}, and {reader} has never read it"
                findings.append(Finding("lag", State.FAILING, text, f"Start the service {reader}."))
            elif lag is not None and lag > MUCH_LAG:
                text = f"{lag} records of {topic.name} wait for {reader}"
                advice = f"See {reader}'s /readyz; if it is ready, run more of it."
                findings.append(Finding("lag", State.WARNING, text, advice))
    return findings or [Finding("lag", State.OK, "nothing waits for long")]


def judged_letters(waiting: Mapping[str, int]) -> list[Finding]:
    """Judge dead letters, by topic."""
    found = {topic: count for topic, count in waiting.items() if count}
    if not found:
        return [Finding("dead letters", State.OK, "there are none")]
    listed = ", ".join(f"{count} of {topic}" for topic, count in found.items())
    advice = "See why with GET /v2/ops/dead-letters; when the cause is gone, redrive them."
    return [Finding("dead letters", State.WARNING, listed, advice)]


def judged_readiness(services: Mapping[str, str]) -> list[Finding]:
    """Judge what services say of themselves: `ready`, or why they are not."""
    if not services:
        advice = "Name the services' health addresses in SLUICE_SERVICES to have them asked."
        return [Finding("services", State.WARNING, "nobody said where they are", advice)]
    return [
        Finding(f"service {name}", State.OK, "is ready")
        if said == "ready"
        else Finding(f"service {name}", State.FAILING, said, "See its log, and what it waits for.")
        for name, said in services.items()
    ]


def judged_clock(ahead: float) -> list[Finding]:
    """Judge the clock of Postgres, which is so many seconds ahead of the gateway's."""
    if abs(ahead) <= SKEW_SECONDS:
        return [Finding("clocks", State.OK, "the gateway's and Postgres's agree")]
    text = f"the gateway's and Postgres's differ by {abs(ahead):.0f} s"
    advice = "Set both by NTP: each says of some things when they are due, and when they expire."
    return [Finding("clocks", State.FAILING, text, advice)]


def judged_disks(disks: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Judge disks, by what they are; each has so many bytes, of which so many are free."""
    findings = []
    for name, (total, free) in disks.items():
        share = free / total if total else 1.0
        state = State.FAILING if share < FULL else State.WARNING if share < NEARLY_FULL else State.OK
        advice = "" if state is State.OK else "Make room: on a full disk nothing is accepted or stored."
        findings.append(Finding(name, state, f"{share:.0%} are free, {free / 1e9:.1f} GB", advice))
    return findings


def judged_source(source: Source, answered: str | None, shown: Shown | None) -> Finding:
    """Judge a source: `answered` is what went wrong when it was asked just now, None if nothing did."""
    name, health = f"source {source.id}", health_of(source, shown)
    if answered is not None:
        return Finding(name, State.FAILING, f"{source.name}: {answered}", _ADVICE.get(answered, _ASK))
    if health.state in {"ok", "unused"}:
        return Finding(name, State.OK, f"{source.name} answers")
    advice = "It gets fewer calls until it bears more; ask its operators whether its limits can be raised."
    text = f"{source.name} answers, and is {health.state}: {health.at_once:g} calls at once"
    return Finding(name, State.WARNING, text, advice)


_ASK = "See sluice sources health, and ask its operators."
_ADVICE = {
    "source_authorization": "Its authorization server refuses us: enter its credentials again.",
    "source_refused": "It refuses our credentials: enter them again.",
    "source_address_refused": "Its address may not be called from here; see SLUICE_SOURCE_NETWORKS.",
    "source_timeout": "It is too slow, or a firewall is between us.",
    "source_unavailable": "It cannot be reached: check its address, and that it runs.",
}
