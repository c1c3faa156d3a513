"""A source that exports a folder of NDJSON, in a process of its own, as fast as aiohttp serves files.

    python -m bench.export_source FOLDER PORT

`/fhir/$export` and `/fhir/status` are a Bulk Data export that is ready at once; its files are the folder's
`*.ndjson`, `TYPE.ndjson` or `NUMBER.TYPE.ndjson`. Everything in the folder is below `/files/` as well.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web


def application(folder: Path, origin: str) -> web.Application:
    """Serve a folder."""

    async def kick_off(_: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Content-Location": f"{origin}/fhir/status"})

    async def status(_: web.Request) -> web.Response:
        output = [
            {"type": path.name.split(".")[-2], "url": f"{origin}/fhir/files/{path.name}"}
            for path in await asyncio.to_thread(_files, folder)
        ]
        manifest = {
            "transactionTime": "2026-01-01T00:00:00Z",
            "request": f"{origin}/fhir/$export",
            "requiresAccessToken": False,
            "output": output,
            "error": [],
        }
        return web.json_response(manifest)

    async def deleted(_: web.Request) -> web.Response:
        return web.Response(status=202)

    async def file(request: web.Request) -> web.FileResponse:
        path = folder / Path(request.match_info["name"]).name
        return web.FileResponse(path, headers={"Content-Type": "application/fhir+ndjson"})

    app = web.Application()
    app.router.add_get("/fhir/$export", kick_off)
    app.router.add_get("/fhir/status", status)
    app.router.add_delete("/fhir/status", deleted)
    app.router.add_get("/fhir/files/{name}", file)
    app.router.add_get("/files/{name}", file)
    return app


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ndjson"))


async def _serve(folder: Path, port: int) -> None:
    runner = web.AppRunner(application(folder, f"http://127.0.0.1:{port}"), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
