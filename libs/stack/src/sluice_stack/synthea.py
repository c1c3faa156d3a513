"""Synthetic patients, made by Synthea itself: `make synthea` writes NDJSON files of a chosen size.

A sample of its output is kept in the repository (`schemas/examples/synthea`), so that nothing but a larger
data set ever needs a run. Everything that decides the output is fixed: seeds, dates and one thread.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_cache_path

from sluice_stack import jars
from sluice_stack.processes import StackError

TYPES = ("DocumentReference", "Patient", "Encounter", "Condition", "Practitioner", "Organization")
_SETTINGS = {
    "exporter.fhir.export": "true",
    "exporter.fhir.bulk_data": "true",
    # Synthea writes its notes as documents only where it may write them as reports too.
    "exporter.fhir.included_resources": ",".join((*TYPES, "DiagnosticReport")),
    "exporter.years_of_history": "5",
    "exporter.metadata.export": "false",
    "exporter.practitioner.fhir.export": "true",
    "exporter.hospital.fhir.export": "true",
    "generate.thread_pool_size": "1",
    "generate.log_patients.detail": "none",
}


@dataclass(frozen=True, slots=True)
class Population:
    """What decides a data set: as many `patients`, made from `seed`, as of `today` (YYYYMMDD)."""

    patients: int
    seed: int = 20260101
    today: str = "20260101"

    @property
    def name(self) -> str:
        """A name for its folder."""
        return f"{self.patients}-{self.seed}-{self.today}"


def generate(population: Population, folder: Path) -> None:
    """Run Synthea and put its files into `folder` as `<type>.ndjson.gz`.

    Raises
    ------
    StackError
        Synthea failed.
    JarError
        Its jars cannot be had.
    """
    program = jars.load("synthea")
    with tempfile.TemporaryDirectory() as scratch:
        settings = {**_SETTINGS, "exporter.baseDirectory": scratch}
        arguments = ["-p", str(population.patients), "-s", str(population.seed), "-cs", str(population.seed)]
        arguments += ["-r", population.today, "-e", population.today]
        arguments += [text for name, value in settings.items() for text in (f"--{name}", value)]
        command = program.command("synthea", *arguments, "Massachusetts", jvm=("-Xmx1g", "-XX:+UseSerialGC"))
        done = subprocess.run(  # noqa: S603
            command, cwd=scratch, capture_output=True, text=True, check=False, timeout=1800
        )
        made = Path(scratch) / "fhir"
        if done.returncode != 0 or not (made / "Patient.ndjson").exists():
            said = (done.stderr or done.stdout or "no reason given").strip().splitlines()
            raise StackError(f"Synthea failed: {said[0]}")
        folder.mkdir(parents=True, exist_ok=True)
        for kind in TYPES:
            # Practitioners and organizations have a time stamp in their file's name.
            _compress(next(made.glob(f"{kind}.*ndjson")), folder / f"{kind}.ndjson.gz")


def _compress(source: Path, target: Path) -> None:
    # No name and no time in the header: the same data gives the same bytes.
    with (
        source.open("rb") as lines,
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(lines, packed)


def cached(population: Population) -> Path:
    """Give the folder with the population's files, generating them the first time."""
    folder = user_cache_path("sluice") / "synthea" / population.name
    if not (folder / ".complete").exists():
        generate(population, folder)
        (folder / ".complete").touch()
    return folder


Patients = Annotated[int, typer.Option(help="how many living patients")]
Seed = Annotated[int, typer.Option(help="the same seed makes the same patients")]
Folder = Annotated[
    Path | None, typer.Option(help="the folder to write to; the user's cache folder if left out")
]


def _command(patients: Patients = 100, seed: Seed = 20260101, to: Folder = None) -> None:
    population = Population(patients, seed)
    folder = to or cached(population)
    if to is not None:
        generate(population, to)
    typer.echo(folder)


def main() -> None:
    """Run the command line."""
    typer.run(_command)


if __name__ == "__main__":
    main()
