"""The stack is upgraded, loses its Kafka, and loses everything but a backup; jobs go on."""

from __future__ import annotations

from containers import SERVICES, STORES, Stack, require, until
from portal import Portal

_UNDER_WAY = 200
_LONG = 1500
_NEXT = "next"
# What the services have seen of a Kafka that is gone; that of the compose file always has the same id.
_FORGET = "DELETE FROM status.offsets; DELETE FROM webhooks.offsets"


def upgraded(stack: Stack, portal: Portal) -> str:
    """Replace every image while a job runs, as docs/operations.md says."""
    ours = ("--filter", "reference=localhost/sluice/*:latest")
    for image in stack.podman("images", "--format", "{{.Repository}}", *ours).split():
        stack.podman("tag", image, f"{image}:{_NEXT}")
    jobs = portal.submit(_LONG)
    stack.once("migrate", version=_NEXT)
    stack.once("topics", version=_NEXT)
    stack.start_services(version=_NEXT)
    for container in stack.containers(*SERVICES):
        image = stack.podman("inspect", "--format", "{{.ImageName}}", container).strip()
        require(image.endswith(f":{_NEXT}"), f"{image} runs")
    require(portal.attached(jobs) == _LONG, "documents were lost meanwhile")
    return f"{_LONG} documents were imported meanwhile"


def kafka_lost(stack: Stack, portal: Portal) -> str:
    """Lose Kafka while a job is under way, and have the job go on from its rows."""
    before = _scraped(stack)
    stack.podman("stop", *stack.containers("attacher"))
    jobs = portal.submit(_UNDER_WAY)
    until(lambda: _scraped(stack) == before + _UNDER_WAY, "documents are not scraped")
    stack.podman("stop", *stack.containers(*SERVICES))
    stack.remove("kafka", "topics", volume="kafka-data")
    stack.sql(_FORGET)
    stack.start_stores()
    stack.podman("start", *stack.containers(*SERVICES))
    stack.healthy(*SERVICES)
    said = stack.once("backup", "resume").strip()
    require(portal.attached(jobs) == _UNDER_WAY, f"documents were lost with Kafka ({said})")
    return f"{said}; {_UNDER_WAY} documents are files"


def _scraped(stack: Stack) -> int:
    return int(stack.sql("SELECT count(*) FROM documents.scraped"))


def restored(stack: Stack, portal: Portal) -> str:
    """Back up, lose the disks, and restore: what was under way goes on, what came later is gone."""
    files = portal.files()
    stack.podman("stop", *stack.containers("attacher"))
    jobs = portal.submit(_UNDER_WAY)
    stack.once("backup", "create", "/backups/check")
    said = stack.once("backup", "check", "/backups/check").strip()
    stack.podman("start", *stack.containers("attacher"))
    later = portal.submit(1)
    require(portal.attached([*jobs, *later]) == _UNDER_WAY + 1, "the jobs did not end")
    stack.remove("proxy", *SERVICES, "migrate", "topics")
    stack.remove(*STORES, volume="kafka-data")
    for volume in ("postgres-data", "objects-data"):
        stack.remove(volume=volume)
    stack.compose("up", "-d", "--no-deps", *STORES)
    stack.healthy(*STORES)
    stack.once("backup", "restore", "/backups/check", "--replace")
    stack.start_stores()
    stack.start_services()
    require(portal.attached(jobs) == _UNDER_WAY, "what was under way did not go on")
    now = portal.files()
    require(files.items() <= now.items(), "files are not what they were")
    # Without what came after the backup.
    require(len(now) == len(files) + _UNDER_WAY, f"there are {len(now)} files")
    return said
