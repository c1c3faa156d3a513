"""Runs a program that may not outlive the process that started it.

    python -I -S tether.py PARENT SIGNAL USER PROGRAM [ARGUMENT…]

It asks the kernel to send SIGNAL to the program when the thread that started it ends, however that comes
about, becomes USER unless that is "-", and then becomes PROGRAM. It is a program of its own, with nothing
imported but the standard library, because code between fork and exec is not safe in a process with threads.

The kernel's promise (prctl(2), PR_SET_PDEATHSIG) exists on Linux only; elsewhere the program is run as it
is. It is given for the thread, so start programs from a thread that lives as long as they should.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _become(user: str) -> None:
    record = pwd.getpwnam(user)
    os.initgroups(record.pw_name, record.pw_gid)
    os.setgid(record.pw_gid)
    os.setuid(record.pw_uid)


def main(parent: str, number: str, user: str, *command: str) -> None:
    """Become `command`, tied to the process `parent`."""
    if user != "-":
        _become(user)
    if sys.platform == "linux":
        # After the change of user, because that change takes the promise back.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        # The parent may have ended before the promise was made.
        if os.getppid() != int(parent):
            raise SystemExit(1)
    # Python ignores these two for itself, and the program would inherit that.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - becoming the given program is what this file is for


if __name__ == "__main__":
    main(*sys.argv[1:])
