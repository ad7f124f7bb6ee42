"""Becomes another program, as another user if asked, and dies with the process that started it.

    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID|- GID|- PROGRAM [ARGUMENT ...]

Run as a program of its own, because code between fork and exec is not safe in a process with threads. The user changes
first: the kernel forgets the death signal when it does.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
EXIT_ORPHANED = 70


def become(uid: str, gid: str) -> None:
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))


def die_with(parent: int, death_signal: int) -> None:
    """Linux only; elsewhere the next `mesh up` cleans up from the run file."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, death_signal)
        # The parent may have died before the kernel knew that we care.
        if os.getppid() != parent:
            sys.exit(EXIT_ORPHANED)


def main() -> None:
    parent, death_signal, uid, gid, *command = sys.argv[1:]
    become(uid, gid)
    die_with(int(parent), int(death_signal))
    os.execv(command[0], command)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main()
