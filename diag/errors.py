"""What can go wrong, drawn once.

DiagError
├── UsageError          a flag, a name or a limit that does not exist            exit 64
├── ConfigError         the configuration cannot be used                         exit 64
├── EvidenceError       the evidence file is not one, is damaged, or would be overwritten   exit 65
├── RunbookError        a runbook is not well formed                             exit 2 from `lint`
├── SecretLeakError     a known credential is in the output; nothing is written  exit 70
└── SourceError         a system under diagnosis could not be read; becomes a gap
    ├── Unreachable     rungs resolve, connect, tls: nobody (or somebody else) answers
    ├── Denied          rungs auth, authorise: somebody answers and says no
    ├── TooSlow         the deadline passed on some rung
    └── Unreadable      rung query or decode: an answer that is an error or not an answer
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Verdicts follow the monitoring-plugin convention; errors of the tool follow sysexits.h."""

    CLEAR = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3
    USAGE = 64
    BAD_EVIDENCE = 65
    NO_TARGET = 69
    BUG = 70
    INTERRUPTED = 130


class Rung(StrEnum):
    """The steps of reaching a server, lowest first; a failure names the rung it happened on."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    AUTH = "auth"
    AUTHORISE = "authorise"
    QUERY = "query"
    DECODE = "decode"


class DiagError(Exception):
    """Base of every error `diag` raises on purpose. `hint` says what to do next."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep the one-line `message` and the `hint`; both are free of control characters."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DiagError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class ConfigError(DiagError):
    """The configuration file or environment cannot be used as it is."""

    exit_code = ExitCode.USAGE


class EvidenceError(DiagError):
    """An evidence file is missing, damaged, foreign, or would be overwritten."""

    exit_code = ExitCode.BAD_EVIDENCE


class Interrupted(DiagError):
    """The person ended the command before there was anything to report."""

    exit_code = ExitCode.INTERRUPTED


class RunbookError(DiagError):
    """A runbook is not well formed; `problems` has one line each, with line numbers."""

    exit_code = ExitCode.CRITICAL

    def __init__(self, message: str, *, problems: tuple[str, ...] = ()) -> None:
        """Keep the problems beside the message."""
        super().__init__(message)
        self.problems = problems


class SecretLeakError(DiagError):
    """A credential that `diag` was given stood in what it was about to write."""


class SourceError(DiagError):
    """A system under diagnosis could not be read; diagnosis turns it into a gap.

    `rung` is where the attempt stopped; `fix` is the exact thing that would help.
    """

    exit_code = ExitCode.UNKNOWN

    def __init__(self, message: str, *, rung: Rung, fix: str = "") -> None:
        """Keep rung and fix; `message` holds the server's own words, if there were any."""
        super().__init__(message, hint=fix)
        self.rung = rung

    @property
    def fix(self) -> str:
        """What a person can do about it, exactly; empty when nothing is known to help."""
        return self.hint


class Unreachable(SourceError):
    """Nobody answers at the address, or somebody who does not speak the protocol."""


class Denied(SourceError):
    """The server answers and refuses."""


class TooSlow(SourceError):
    """The deadline passed."""


class Unreadable(SourceError):
    """The server answered with an error, or with bytes that are not an answer."""
