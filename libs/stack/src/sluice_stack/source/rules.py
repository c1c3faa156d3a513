"""Documents by rule: as many as a benchmark wants, and files as large as it wants, without storing any.

`bench-000001` … `bench-999999` are DocumentReferences with a 20 KB attachment by URL, one hundred to a
Patient. `big-2gb`, `big-64mb`, `big-300kb` are DocumentReferences with an attachment of that size.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import random
import re

from multidict import CIMultiDict

from sluice_stack.source.answers import Answer, fhir

FILE_SIZE = 20 * 1024
BLOCK = 2**20
_PER_PATIENT = 100
_BENCH = re.compile(r"bench-(\d{6})")
_PATIENT = re.compile(r"bench-patient-(\d{4})")
_BIG = re.compile(r"big-(\d{1,6})(kb|mb|gb)(?:\.[A-Za-z0-9.-]+)?")
_UNITS = {"kb": 2**10, "mb": 2**20, "gb": 2**30}

# Letters that do not compress to nothing, the same in every process.
_NOISE = base64.b64encode(random.Random(20260101).randbytes(BLOCK))  # noqa: S311 - filler, not a secret
_BENCH_END = b"\ndocument %06d\n"
_BENCH_HEAD = _NOISE[: FILE_SIZE - len(_BENCH_END % 0)]
_BENCH_DIGEST = hashlib.sha1(_BENCH_HEAD, usedforsecurity=False)
_DOCUMENT = (
    b'{"resourceType":"DocumentReference","id":"%(id)b","meta":{"versionId":"1"},"status":"current",'
    b'"type":{"coding":[{"system":"http://loinc.org","code":"34117-2","display":"History and physical"}]},'
    b'"subject":{"reference":"Patient/%(patient)b"},"date":"2026-01-01T00:00:00Z",'
    b'"content":[{"attachment":{"contentType":"text/plain","url":"%(base)b/files/%(id)b","size":%(size)d,'
    b'"hash":"%(hash)b","title":"%(id)b.txt"}}]}'
)
_PATIENT_BODY = (
    b'{"resourceType":"Patient","id":"%(id)b","meta":{"versionId":"1"},"gender":"unknown",'
    b'"birthDate":"1970-01-01","name":[{"family":"Rule","given":["%(id)b"]}]}'
)


def document(name: str, base: str, size: int, digest: bytes, patient: str = "bench-patient-0000") -> bytes:
    """Write a DocumentReference whose attachment is at `files/{name}`; `digest` is its SHA-1."""
    values = {
        b"id": name.encode(),
        b"base": base.encode(),
        b"size": size,
        b"hash": base64.b64encode(digest),
        b"patient": patient.encode(),
    }
    return _DOCUMENT % values


def sha1(data: bytes) -> bytes:
    """Give the SHA-1 that FHIR wants of an attachment (R4 section 2.24.0.2)."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def bench_content(number: int) -> bytes:
    """Give the 20 KB of one benchmark document; no two are alike."""
    return _BENCH_HEAD + _BENCH_END % number


def bench_digest(number: int) -> bytes:
    """Give the SHA-1 of that content, as a server knows it: without reading the content anew."""
    digest = _BENCH_DIGEST.copy()
    digest.update(_BENCH_END % number)
    return digest.digest()


def big_block() -> bytes:
    """Give the 1 MiB that large files repeat."""
    return _NOISE[:BLOCK]


def big_size(name: str) -> int | None:
    """Give the size in bytes of the large file of this name, None for other names."""
    found = _BIG.fullmatch(name)
    return int(found[1]) * _UNITS[found[2]] if found else None


@functools.cache
def big_digest(size: int) -> bytes:
    """Give the SHA-1 of a large file; takes about a second per GB, once."""
    digest = hashlib.sha1(usedforsecurity=False)
    block = memoryview(big_block())
    for start in range(0, size, BLOCK):
        digest.update(block[: min(BLOCK, size - start)])
    return digest.digest()


def read(path: str, base: str) -> Answer | None:
    """Answer a read of something made by rule, other than a large file's document."""
    kind, _, name = path.removesuffix("/_history/1").partition("/")
    if kind == "DocumentReference":
        found = _BENCH.fullmatch(name)
        if found:
            number = int(found[1])
            patient = f"bench-patient-{number // _PER_PATIENT:04d}"
            return fhir(document(name, base, FILE_SIZE, bench_digest(number), patient))
    elif kind == "Patient" and _PATIENT.fullmatch(name):
        return fhir(_PATIENT_BODY % {b"id": name.encode()})
    elif kind in ("files", "Binary"):
        found = _BENCH.fullmatch(name)
        if found:
            headers = CIMultiDict(
                {"Content-Type": "text/plain", "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
            )
            return Answer(bench_content(int(found[1])), headers, ranges=True)
    return None
