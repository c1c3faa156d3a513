"""What `make compose-check` does once images and secrets are there, with a line for each step."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from containers import CheckError, Stack
from losing import kafka_lost, restored, upgraded
from operating import doctor, keys_rotated, rebuilt, redriven, secrets_replaced
from portal import portal_on
from starting import confinement, demo, observed, postgres_settings, scaled, services, stores

STARTING = (stores, postgres_settings, services, confinement, demo, scaled, observed)
WORKING = (doctor, rebuilt, redriven, keys_rotated, upgraded, secrets_replaced, rebuilt)
LOSING = (kafka_lost, restored, doctor)


def main() -> None:
    """Take every step, and end with 1 at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="the check's folder")
    stack = Stack(parser.parse_args().work.resolve())
    began = time.monotonic()
    try:
        for start in STARTING:
            _said(start.__name__, began, start(stack))
        with portal_on(stack) as portal:
            portal.attached(portal.submit(20))
            for operate in (*WORKING, *LOSING):
                _said(operate.__name__, began, operate(stack, portal))
    except CheckError as error:
        print(f"compose-check: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"compose-check passed: {len(STARTING) + len(WORKING) + len(LOSING)} steps")


def _said(step: str, began: float, what: str) -> None:
    print(f"== {step.replace('_', ' ')} ({time.monotonic() - began:.0f} s): {what}", flush=True)


if __name__ == "__main__":
    main()
