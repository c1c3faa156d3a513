"""As much of S3 as the object store speaks to: one bucket in memory, no signatures checked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

_RFC_1123 = "%a, %d %b %Y %H:%M:%S GMT"


class FakeS3:
    """A bucket; `uploads` are the multipart uploads that were neither completed nor aborted."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._begun = 0

    async def handle(self, request: web.Request) -> web.Response:
        name = unquote(request.path.lstrip("/")).partition("/")[2]
        query = request.query
        match request.method:
            case "PUT" if "partNumber" in query:
                body = await request.read()
                self.uploads[query["uploadId"]][int(query["partNumber"])] = body
                return web.Response(headers={"ETag": _tag(body)})
            case "PUT" if "x-amz-copy-source" in request.headers:
                source = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")[2]
                if source not in self.objects:
                    return _error(404, "NoSuchKey")
                self._put(name, self.objects[source][0])
                return _xml("<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
            case "PUT":
                return self._put(name, await request.read())
            case "POST" if "uploads" in query:
                self._begun += 1
                upload = f"upload-{self._begun}"
                self.uploads[upload] = {}
                return _xml(
                    f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                    "</InitiateMultipartUploadResult>"
                )
            case "POST" if "uploadId" in query:
                await request.read()
                parts = self.uploads.pop(query["uploadId"])
                self._put(name, b"".join(parts[number] for number in sorted(parts)))
                return _xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
            case "POST" if "delete" in query:
                return await self._delete_many(request)
            case "DELETE" if "uploadId" in query:
                self.uploads.pop(query["uploadId"], None)
                return web.Response(status=204)
            case "DELETE":
                self.objects.pop(name, None)
                return web.Response(status=204)
            case "GET" if "list-type" in query:
                return self._list(query.get("prefix", ""))
            case "GET" | "HEAD":
                return self._get(request, name)
        return _error(400, "InvalidRequest")

    def _put(self, name: str, body: bytes) -> web.Response:
        self.objects[name] = (body, datetime.now(UTC))
        return web.Response(headers={"ETag": _tag(body)})

    def _get(self, request: web.Request, name: str) -> web.Response:
        if name not in self.objects:
            return _error(404, "NoSuchKey")
        body, at = self.objects[name]
        headers = {"ETag": _tag(body), "Last-Modified": at.strftime(_RFC_1123)}
        if request.method == "HEAD":
            # Left to itself, the server leaves it out for an empty object; S3 does not.
            return web.Response(headers={**headers, "Content-Length": str(len(body))})
        wanted = request.http_range
        if wanted.start is None and wanted.stop is None:
            return web.Response(body=body, headers=headers)
        first, last = wanted.start or 0, min(wanted.stop or len(body), len(body)) - 1
        if first > last:
            return _error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return web.Response(status=206, body=body[first : last + 1], headers=headers)

    def _list(self, prefix: str) -> web.Response:
        found = [
            f"<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size><ETag>e</ETag>"
            f"<LastModified>{at.isoformat()}</LastModified></Contents>"
            for name, (body, at) in sorted(self.objects.items())
            if name.startswith(prefix)
        ]
        return _xml(f"<ListBucketResult>{''.join(found)}</ListBucketResult>")

    async def _delete_many(self, request: web.Request) -> web.Response:
        text = await request.text()
        gone = [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]
        for name in gone:
            self.objects.pop(name, None)
        deleted = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in gone)
        return _xml(f"<DeleteResult>{deleted}</DeleteResult>")


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0"?>{text}', content_type="application/xml")


def _error(status: int, code: str) -> web.Response:
    return web.Response(
        status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml"
    )


@asynccontextmanager
async def fake_s3() -> AsyncIterator[tuple[FakeS3, str]]:
    """Run a fake S3; gives it and its endpoint."""
    fake = FakeS3()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield fake, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
