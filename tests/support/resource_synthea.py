"""Synthea's resources of all types, for benchmarks: generated once into the user's cache folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from platformdirs import user_cache_path

from sluice_stack import jars
from sluice_stack.processes import StackError

_DAY = "20260101"
_SEED = "20260101"


def generated(patients: int) -> Path:
    """Give a folder with NDJSON files, one per type; generating takes a minute or two the first time.

    70 living patients (and the dead that come with them) have some 180,000 resources.
    """
    folder = user_cache_path("sluice") / "synthea" / f"all-types-{patients}-{_SEED}-{_DAY}"
    if not (folder / ".complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _generate(patients, folder)
        (folder / ".complete").touch()
    return folder / "fhir"


def _generate(patients: int, folder: Path) -> None:
    settings = {
        "exporter.baseDirectory": str(folder),
        "exporter.fhir.export": "true",
        "exporter.fhir.bulk_data": "true",
        "exporter.metadata.export": "false",
        "exporter.practitioner.fhir.export": "true",
        "exporter.hospital.fhir.export": "true",
        "generate.thread_pool_size": "1",
        "generate.log_patients.detail": "none",
    }
    arguments = ["-p", str(patients), "-s", _SEED, "-cs", _SEED, "-r", _DAY, "-e", _DAY]
    arguments += [text for name, value in settings.items() for text in (f"--{name}", value)]
    program = jars.load("synthea")
    command = program.command("synthea", *arguments, "Massachusetts", jvm=("-Xmx1500m", "-XX:+UseSerialGC"))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode != 0 or not (folder / "fhir" / "Patient.ndjson").exists():
        raise StackError("Synthea failed")
