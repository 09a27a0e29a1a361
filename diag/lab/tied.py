"""Become another program that the kernel ends when the process that asked for it ends.

Run by path, isolated: ``python -I -S tied.py OWNER_PID SIGNAL UID GID PROGRAM [ARGUMENT…]``;
a UID of -1 keeps the user. A shim and not a `preexec_fn`, because forking a process that
has threads (drivers start some) may deadlock the child, and because only a program that
starts as root can both read this file and become a user who cannot.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_ARGUMENTS = 4


def main(arguments: list[str]) -> None:
    """Change the user, tie this process to its owner, then execute the program."""
    owner_pid, death_signal, uid, gid = (int(text) for text in arguments[:_ARGUMENTS])
    program = arguments[_ARGUMENTS:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # Only now: the kernel forgets the parent-death signal when the user changes.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != owner_pid:  # the owner ended before the line above took effect
        sys.exit("the owner is gone")
    # Neither a blocked signal nor a core file belongs to a server of the lab.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard_bytes))
    os.umask(0o077)
    try:
        os.execvp(program[0], program)  # noqa: S606  the point of this file; argv, no shell
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
