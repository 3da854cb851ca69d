"""Runs a program that does not outlive its parent.

``python die_with_parent.py PARENT_PID PROGRAM ARG…``

A parent that is killed cannot stop what it started. On Linux the kernel does it instead:
the signal is asked for here, in the child, because doing it between fork and exec of a
program with threads may deadlock. Elsewhere the program is simply run.

The kernel watches the *thread* that started the child, so that has to be one that lives on.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 -- not every Python elsewhere has it

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 -- the command is the caller's own
