"""`sluice-backup`: back a deployment up, restore it, and look whether a backup is whole.

The settings say where everything is: SLUICE_POSTGRES (an administrator's), SLUICE_OBJECTS, SLUICE_KAFKA and
SLUICE_SECRET, or files by SLUICE_POSTGRES_FILE and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from sluice_backup import making, restoring
from sluice_backup.manifest import BackupError, Manifest, opened
from sluice_backup.settings import Settings
from sluice_contracts.words import counted
from sluice_settings import explain
from sluice_streaming.outcomes import Unavailable

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)

Folder = Annotated[Path, typer.Argument(help="the backup's folder")]
WithObjects = Annotated[
    bool, typer.Option("--objects/--no-objects", help="the objects too, not the database alone")
]
After = Annotated[
    Path | None,
    typer.Option("--after", help="an earlier backup, whose copies of unchanged objects are linked"),
]
Replace = Annotated[bool, typer.Option("--replace", help="remove what is in the database and object store")]
FreshTopics = Annotated[
    bool, typer.Option("--fresh-topics", help="remove Kafka's topics with all records, and make them anew")
]


@contextmanager
def one_line() -> Iterator[None]:
    """End the command with one line where something is in the way."""
    try:
        yield
    except ValidationError as error:
        text = explain(error)
    except Unavailable as away:
        text = f"{away.what} does not answer"
    except (BackupError, RuntimeError, OSError) as error:
        text = str(error)
    else:
        return
    print(f"sluice: {text}", file=sys.stderr)
    raise typer.Exit(1)


def told(manifest: Manifest) -> str:
    """Say in a line what a backup is."""
    objects = "no objects" if manifest.objects is None else counted(manifest.objects, "object")
    return (
        f"as of {manifest.dumped_at:%Y-%m-%d %H:%M:%S} UTC: the database ({manifest.migrations[-1]}), "
        f"{objects}, {manifest.object_bytes} bytes of them"
    )


@app.command()
def create(folder: Folder, objects: WithObjects = True, after: After = None) -> None:
    """Back up a deployment while it runs."""
    with one_line():
        made = making.make(folder, Settings(), typer.echo, with_objects=objects, after=after)
        typer.echo(told(made))


@app.command()
def check(folder: Folder) -> None:
    """Look whether a backup is whole: every file of it is read."""
    with one_line():
        typer.echo(told(opened(folder)))


@app.command()
def restore(
    folder: Folder, replace: Replace = False, fresh_topics: FreshTopics = False, objects: WithObjects = True
) -> None:
    """Restore a backup, with all services stopped."""
    with one_line():
        settings, manifest = Settings(), opened(folder)
        typer.echo(told(manifest))
        commands = restoring.restore(
            folder,
            manifest,
            settings,
            typer.echo,
            replace=replace,
            fresh_topics=fresh_topics,
            with_objects=objects,
        )
        typer.echo(f"restored; {counted(commands, 'command')} to have jobs go on when the services start")


@app.command()
def resume() -> None:
    """Have jobs go on whose commands Kafka has lost, from their rows."""
    with one_line():
        typer.echo(f"published {counted(restoring.resume(Settings()), 'command')}")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
