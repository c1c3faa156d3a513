"""Token verification: a remembered token beside bare hash and look-up, a new one beside a bare signature.

In one process, without a network. Readings are in processor time, so a busy machine does not blur them. Run
from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_tokens
"""

from __future__ import annotations

import asyncio
import hashlib
import time

from joserfc import jws

from bench.measure import report, side_by_side
from sluice_security.tokens import TokenVerifier
from support.tokens import LocalAuthority

REMEMBERED = 20_000
NEW = 200


async def hash_and_look_up(token: str) -> float:
    """Do what cannot be avoided for a remembered token; give microseconds a token."""
    seen = {hashlib.sha256(token.encode()).digest(): token}
    began = time.process_time()
    for _ in range(REMEMBERED):
        seen[hashlib.sha256(token.encode()).digest()]
    return (time.process_time() - began) / REMEMBERED * 1e6


async def remembered(verifier: TokenVerifier, token: str) -> float:
    """Verify one token again and again; give microseconds a token."""
    await verifier.verify(token)
    began = time.process_time()
    for _ in range(REMEMBERED):
        await verifier.verify(token)
    return (time.process_time() - began) / REMEMBERED * 1e6


async def signature(authority: LocalAuthority) -> float:
    """Check nothing but signatures; give microseconds a token."""
    tokens = [authority.mint() for _ in range(NEW)]
    began = time.process_time()
    for token in tokens:
        jws.deserialize_compact(token, authority.key, algorithms=["ES256"])
    return (time.process_time() - began) / NEW * 1e6


async def new(verifier: TokenVerifier, authority: LocalAuthority) -> float:
    """Verify tokens that were never seen; give microseconds a token."""
    tokens = [authority.mint() for _ in range(NEW)]
    began = time.process_time()
    for token in tokens:
        await verifier.verify(token)
    return (time.process_time() - began) / NEW * 1e6


async def main(repeats: int = 7) -> None:
    """Measure and print."""
    authority = LocalAuthority()
    token = authority.mint()
    async with authority.verifier() as verifier:
        await verifier.verify(token)
        again = await side_by_side(
            repeats,
            ("SHA-256 and a dict", lambda: hash_and_look_up(token)),
            ("remembered token", lambda: remembered(verifier, token)),
            "µs",
        )
        first = await side_by_side(
            repeats,
            ("bare ES256 signature", lambda: signature(authority)),
            ("new token", lambda: new(verifier, authority)),
            "µs",
        )
    report("Verify a token that is remembered (lower is better)", again)
    report("Verify a token for the first time (lower is better)", first)


if __name__ == "__main__":
    asyncio.run(main())
