"""The limits of outgoing HTTP.

Those of sources are settings (`sluice_fhir.source_settings`), but for what is about this side alone:
`ratio_floor`, `read_buffer` and `keepalive`.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a source may cost us. Times in seconds, sizes in bytes, rates in bytes per second.

    Parameters
    ----------
    connect
        From wanting a connection to having one, name resolution and TLS included.
    answer
        From sending a request to the end of its answer's headers.
    read_idle
        The longest silence within an answer.
    rate, rate_window
        The slowest a body may come, on average over the window; time in which we ourselves were not
        reading does not count.
    ratio, ratio_floor
        How much a body may grow when decompressed, once it is larger than the floor.
    redirects
        How many hops are followed.
    read_buffer
        How much of one body aiohttp holds before it stops reading the socket.
    keepalive
        How long an idle connection is kept.
    """

    connect: float = 10.0
    answer: float = 60.0
    read_idle: float = 60.0
    rate: float = 1000.0
    rate_window: float = 60.0
    ratio: float = 100.0
    ratio_floor: int = MIB
    redirects: int = 3
    read_buffer: int = 256 * 1024
    keepalive: float = 30.0
