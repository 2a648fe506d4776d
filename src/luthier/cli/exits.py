"""Exit codes, and the one boundary where errors become a line on the screen."""

from __future__ import annotations

import enum
import errno
import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from luthier.cli.console import complain, say
from luthier.errors import BudgetExhausted, JournalError, LuthierError, ProgramFailed, RequestRejected, UserError

P = ParamSpec("P")


class Code(enum.IntEnum):
    """What the command ends with."""

    DONE = 0
    """The tuned prompts are better (adopt), or the command did what it was asked."""
    UNEXPECTED = 1
    """A fault in luthier itself."""
    BAD_INPUT = 2
    BUDGET = 3
    """The budget ended before the verdict."""
    INFRASTRUCTURE = 4
    """Stopped by infrastructure; the study can be resumed."""
    USER_CODE = 5
    """The program, the metric, or a module of the user raised."""
    KEEP = 10
    UNDECIDED = 11
    UNMEETABLE = 12
    """No prompt can score: no label matches any answer, no answer can be read, or every run returned None."""
    INTERRUPTED = 130


_DECISIONS = {"adopt": Code.DONE, "keep": Code.KEEP, "undecided": Code.UNDECIDED, "unmeetable": Code.UNMEETABLE}


def code_of_decision(decision: str | None) -> Code:
    """Return the exit code of a finished study; one without a decision ended before its verdict."""
    return Code.BUDGET if decision is None else _DECISIONS.get(decision, Code.UNDECIDED)


def code_of_error(error: BaseException) -> Code:
    """Return the exit code an error ends the command with."""
    if isinstance(error, OSError):
        return Code.INFRASTRUCTURE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else Code.BAD_INPUT
    return code_of_kind(type(error))


def code_of_kind(kind: type[BaseException]) -> Code:
    """Return the exit code that errors of a kind end the command with, where the kind alone decides."""
    codes = {
        KeyboardInterrupt: Code.INTERRUPTED,
        UserError: Code.BAD_INPUT,
        JournalError: Code.BAD_INPUT,
        RequestRejected: Code.BAD_INPUT,
        BudgetExhausted: Code.BUDGET,
        ProgramFailed: Code.USER_CODE,
        LuthierError: Code.INFRASTRUCTURE,
    }
    return next((code for known, code in codes.items() if issubclass(kind, known)), Code.UNEXPECTED)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end with a line and a code instead of a traceback; ``--debug`` shows the traceback, too."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            # The reader of a pipe has seen enough; Python must not complain when it flushes at exit.
            _close_stdout()
            raise typer.Exit(Code.DONE) from None
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the boundary: every error gets a line and a code
            code = code_of_error(error)
            complain(_message(error, code))
            for note in getattr(error, "__notes__", ()):
                say(note)
            if kwargs.get("debug"):
                say("".join(traceback.format_exception(error)))
            raise typer.Exit(code) from None

    return run


def _message(error: BaseException, code: Code) -> str:
    if code is Code.INTERRUPTED:
        return "interrupted; everything recorded is kept"
    if code is Code.UNEXPECTED:
        what = f"unexpected {type(error).__name__}: {error}".replace("\n", " ")
        return f"{what} (a fault in luthier: please report it, with what --debug shows)"
    if isinstance(error, OSError) and not isinstance(error, LuthierError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or error}"
    return str(error) or type(error).__name__


def _close_stdout() -> None:
    import os
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
