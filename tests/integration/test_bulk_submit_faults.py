"""Submissions with everything wrong: each manifest ends, with its reason, and what is sound is kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_streaming.memory import MemoryProducer
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Unavailable
from support.gateway_real import real_gateway
from support.pulling import PullSite
from support.resource_store import Json, lines_of
from support.stack import Database
from support.submitting import Provider

pytest_plugins = ["support.pulling_http"]

CANARY = "secret of the source"
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing"}]}'


def patient(id_: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "id": id_, **more}


# What a manifest's address answers, and what becomes of it.
MANIFESTS: dict[str, tuple[int, bytes, ItemError]] = {
    "unauthorized": (401, b"", ItemError.SOURCE_REFUSED),
    "forbidden": (403, b"", ItemError.SOURCE_REFUSED),
    "missing": (404, b"", ItemError.EXPORT_GONE),
    "broken": (500, b"", ItemError.SOURCE_UNAVAILABLE),
    "failed": (500, OUTCOME, ItemError.EXPORT_FAILED),
    "endless": (202, b"", ItemError.EXPORT_TIMEOUT),
    "not-json": (200, b"not JSON", ItemError.BAD_MANIFEST),
    "empty": (200, b"", ItemError.BAD_MANIFEST),
    "a-list": (200, b"[]", ItemError.BAD_MANIFEST),
    "no-output": (200, b"{}", ItemError.BAD_MANIFEST),
    "no-address": (200, b'{"output":[{"type":"Patient"}]}', ItemError.BAD_MANIFEST),
    "deep": (200, b'{"output":' + b"[" * 3000, ItemError.BAD_MANIFEST),
}


async def test_a_manifest_that_cannot_be_had_is_told_by_its_address_and_costs_the_others_nothing(
    provider: Provider, pull: PullSite
) -> None:
    http = pull.source.http
    http.on("/fhir/files/sound", lines_of(patient("sound")), Content_Type="application/fhir+ndjson")
    for name, (status, body, _) in MANIFESTS.items():
        http.status(f"/fhir/manifests/{name}", status, body, Retry_After="0")
    pages = {
        "circle": {"output": [], "link": [{"relation": "next", "url": "circle"}]},
        "relative": {"output": [{"type": "Patient", "url": "../files/sound"}]},
    }
    for name, page in pages.items():
        http.on(f"/fhir/manifests/{name}", json.dumps(page).encode())
    async with pull.running(pull_hours=2 / 3600):
        for name in (*MANIFESTS, *pages):
            await provider.submitted(f"{http.base}/manifests/{name}")
        await provider.submitted(None, "completed")
        shown = await provider.ended()
        told = await provider.told(shown)
    wanted = {name: error for name, (_, _, error) in MANIFESTS.items()} | {"circle": ItemError.BAD_MANIFEST}
    for number, name in enumerate((*MANIFESTS, "circle"), 1):
        ((severity, text),) = told[name]
        assert severity == "error", name
        assert text.startswith(
            f"Manifest {number}: nothing was imported. {ERROR_TEXTS[wanted[name]].message}"
        )
        assert CANARY not in text
    assert told["relative"][0] == ("information", f"Manifest {len(told)}: imported.")
    assert set(await provider.stored()) == {"Patient/sound"}
    assert {each["manifestUrl"].rpartition("/")[2] for each in shown["error"]} == set(wanted)


FILES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "octets": (lines_of(patient("octets")), {"Content_Type": "application/octet-stream"}, ""),
    "zipped": (gzip.compress(lines_of(patient("zipped"))), {}, ""),
    "empty": (b"", {}, ""),
    "bomb": (
        gzip.compress(b" " * 50_000_000),
        {"Content_Encoding": "gzip"},
        ERROR_TEXTS[ItemError.DECOMPRESSION_REFUSED].message,
    ),
    "page": (b"<html>", {"Content_Type": "text/html"}, ERROR_TEXTS[ItemError.NOT_NDJSON].message),
    "cut": (
        gzip.compress(lines_of(*(patient(f"cut{n}") for n in range(100))))[:-20],
        {"Content_Encoding": "gzip"},
        ERROR_TEXTS[ItemError.FILE_TRUNCATED].message,
    ),
    "long": (
        lines_of(patient("long", text={"div": "x" * 12_000_000}), patient("after-long")),
        {},
        "",
    ),
    "longer": (
        lines_of(patient("longer", text={"div": "x" * 17_000_000}), patient("after-longer")),
        {},
        "line 1: not loaded, it is longer than a line may be.",
    ),
    "other": (
        lines_of({"resourceType": "Basic", "id": "b"}, patient("beside")),
        {},
        "line 1: not loaded, its type is not the one the manifest names.",
    ),
    "bytes": (
        lines_of(b'{"resourceType":"Patient","id":"u","x":"\xff"}', patient("utf8")),
        {},
        "line 1: not loaded, it is not UTF-8.",
    ),
    "dangling": (
        lines_of(
            patient("x", link=[{"other": {"reference": "Patient/y"}, "type": "seealso"}]),
            patient("y", link=[{"other": {"reference": "Patient/x"}, "type": "seealso"}]),
            patient("z", generalPractitioner=[{"reference": "Practitioner/none"}]),
        ),
        {},
        "1 Practitioner resource is referred to that neither the import nor the store has.",
    ),
}


async def test_files_that_go_wrong_are_told_with_their_manifest_and_sound_lines_are_kept(
    provider: Provider, pull: PullSite
) -> None:
    http = pull.source.http

    def serve(name: str, *files: Json) -> str:
        body = {"requiresAccessToken": False, "output": list(files)}
        http.on(f"/fhir/manifests/{name}", json.dumps(body).encode())
        return f"{http.base}/manifests/{name}"

    manifests = {}
    for name, (content, headers, _) in FILES.items():
        http.on(f"/fhir/files/{name}", content, **{"Content_Type": "application/fhir+ndjson", **headers})
        manifests[name] = serve(name, {"type": "Patient", "url": f"{http.base}/files/{name}"})
    refused = {"type": "Patient", "url": "http://169.254.169.254/latest"}
    manifests["elsewhere"] = serve(
        "elsewhere", refused, {"type": "Patient", "url": f"{http.base}/files/octets"}
    )
    manifests["gone"] = serve("gone", {"type": "Patient", "url": f"{http.base}/files/gone"})
    async with pull.running(pull_line_bytes=16_000_000):
        for url in manifests.values():
            await provider.submitted(url)
        await provider.submitted(None, "completed")
        told = await provider.told(await provider.ended())
    for name, (_, _, wanted) in FILES.items():
        texts = [text for _, text in told[name]]
        assert any(wanted in text for text in texts), (name, texts)
        assert (told[name][0][0] == "information") is (wanted == ""), (name, texts)
    assert told["elsewhere"][0] == (
        "warning",
        f"Manifest {len(FILES) + 1}: imported, with 1 problem, which is listed.",
    )
    assert told["gone"][0][0] == "error"
    kept = ("octets", "zipped", "long", "after-long", "after-longer", "beside", "utf8", "x", "y", "z")
    assert {f"Patient/{name}" for name in kept} <= set(await provider.stored())
    assert not {"Patient/longer", "Basic/b", "Patient/u"} & set(await provider.stored())


async def test_credentials_that_end_in_the_middle_end_the_manifest_and_not_the_submission(
    provider: Provider, pull: PullSite
) -> None:
    http = pull.source.http
    url = provider.manifest("a", patient("1"))
    asked = 0

    async def later_refused(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=401)

    http.on("/fhir/files/a.ndjson", later_refused)
    sound = provider.manifest("b", patient("2"))
    async with pull.running():
        await provider.submitted(url)
        await provider.submitted(sound, "completed")
        told = await provider.told(await provider.ended())
    assert asked
    assert told["a"][0][0] == "error"
    assert told["b"][0] == ("information", "Manifest 2: imported.")
    assert set(await provider.stored()) == {"Patient/2"}


async def test_a_submission_that_is_over_takes_no_more_and_says_so(
    provider: Provider, pull: PullSite
) -> None:
    first, second = provider.manifest("a", patient("1")), provider.manifest("b", patient("2"))
    for status, other in (("completed", "stopped"), ("stopped", "completed")):
        provider.name = status
        await provider.submitted(first, status)
        for refused in (
            await provider.submit(second),
            await provider.submit(None, other),
            await provider.submit(second, status, replaces=first),
        ):
            assert refused.status == 409
            assert (await refused.json())["issue"][0]["code"] == "business-rule"
        await provider.submitted(first, status)


async def test_manifests_are_unique_and_only_those_of_the_submission_are_replaced(
    provider: Provider, pull: PullSite
) -> None:
    first, second = provider.manifest("a", patient("1")), provider.manifest("b", patient("2"))
    third = provider.manifest("c", patient("3"))
    await provider.submitted(first)
    for answer, code in (
        (await provider.submit(first, base="https://other.example/fhir"), "duplicate"),
        (await provider.submit(second, replaces=third), "not-found"),
        (await Provider(provider.site, pull, "other").submit(second, replaces=first), "not-found"),
    ):
        assert answer.status == 400
        assert (await answer.json())["issue"][0]["code"] == code
    await provider.submitted(second, replaces=first)
    again = await provider.submit(third, replaces=first)
    assert (again.status, (await again.json())["issue"][0]["code"]) == (400, "duplicate")
    assert (await provider.submit(first)).status == 400
    assert await pull.rows.fetchval("SELECT count(*) FROM gateway.submission_manifests") == 2
    assert await pull.rows.fetchval("SELECT count(*) FROM gateway.submissions") == 1


class Lossy(MemoryProducer):
    """A producer that loses the answer of every other call; what it was given arrives all the same."""

    calls = 0

    async def publish(self, messages: Sequence[Message]) -> None:
        self.calls += 1
        await super().publish(messages)
        if self.calls % 2:
            raise Unavailable("kafka")


async def test_a_request_that_was_told_to_come_again_is_carried_out_once_when_it_does(
    database: Database, pull: PullSite
) -> None:
    async with real_gateway(database, producer=Lossy(pull.broker), export_early_polls=10_000) as site:
        provider = Provider(site, pull)
        url = provider.manifest("a", patient("1"))
        lost = await provider.submit(url, "completed")
        assert lost.status == 503
        assert (await lost.json())["resourceType"] == "OperationOutcome"
        await provider.submitted(url, "completed")
        starts = [each for each in pull.broker.bodies(JOBS_BULK_IMPORT) if isinstance(each, StartBulkImport)]
        assert len(starts) == 2
        assert len({each.job for each in starts}) == 1
        async with pull.running():
            told = await provider.told(await provider.ended())
    assert told["a"][0] == ("information", "Manifest 1: imported.")
    assert set(await provider.stored()) == {"Patient/1"}
