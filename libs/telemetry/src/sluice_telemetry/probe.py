"""`python -m sluice_telemetry.probe`: ask the service of this container whether it is ready.

It reads where the service listens from the service's own environment (`SLUICE_HEALTH`, else `SLUICE_LISTEN`),
so that a container's health check needs no argument. Only the standard library is used: it runs every few
seconds, beside each process.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

_SECONDS = 4.0


def ready(environment: Mapping[str, str] = os.environ) -> tuple[bool, str]:
    """Tell whether the service is ready, and what it says."""
    where = environment.get("SLUICE_HEALTH") or environment.get("SLUICE_LISTEN") or ""
    host, _, port = where.rpartition(":")
    if not port.isdigit():
        return False, "neither SLUICE_HEALTH nor SLUICE_LISTEN says where to ask"
    if host in ("", "0.0.0.0"):  # noqa: S104 - what is listened on, not by us
        host = "127.0.0.1"
    connection = _connection(host.strip("[]"), int(port), tls=bool(environment.get("SLUICE_TLS_CERT")))
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status == http.client.OK, answer.read(200).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, type(error).__name__
    finally:
        connection.close()


def _connection(host: str, port: int, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=_SECONDS)
    # The certificate is for the name that clients use, not for this address, and nothing secret is sent.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)


def main() -> None:
    """Say what the service says; exit code 1 when it is not ready."""
    fine, said = ready()
    sys.stdout.write(f"{said}\n")
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
