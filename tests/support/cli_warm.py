"""The command `sluice`, imported once: each command is a fork of this process, and takes a tenth of the time.

    python -m support.cli_warm SOCKET

Whoever connects sends the arguments, the environment and the folder, with files to be the standard streams;
what comes back is the exit code. Nothing else differs from a process that was started for the command.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sluice_client.cli.app import EXTENSIONS, main

_REQUEST = 2**20


def ask(
    address: Path, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes
) -> tuple[int, bytes, bytes]:
    """Have a command run by the process that listens there; gives its exit code, output and errors."""
    request = json.dumps([list(arguments), dict(environment), str(folder)]).encode()
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        given.write(stdin)
        given.seek(0)
        connection.connect(str(address))
        socket.send_fds(connection, [request], [given.fileno(), out.fileno(), err.fileno()])
        connection.shutdown(socket.SHUT_WR)
        code = connection.recv(16)
        out.seek(0)
        err.seek(0)
        return int(code or b"-1"), out.read(), err.read()


def _run(connection: socket.socket) -> int:
    request, streams, *_ = socket.recv_fds(connection, _REQUEST, 3)
    while more := connection.recv(_REQUEST):
        request += more
    arguments, environment, folder = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    try:
        main()
    except SystemExit as end:
        return _code(end.code)
    return 0


def _code(told: Any) -> int:
    if told is None or isinstance(told, int):
        return told or 0
    print(told, file=sys.stderr)
    return 1


def _child(connection: socket.socket) -> None:
    code = 1
    try:
        code = _run(connection)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
        os._exit(code)


def serve(address: str) -> None:
    """Fork for each connection, until killed."""
    for extension in entry_points(group=EXTENSIONS):
        extension.load()
    # Children end by themselves: nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    # It is there only when it answers.
    Path(f"{address}.new").rename(address)
    gc.freeze()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _child(connection)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
