"""Telling the user's errors from infrastructure's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from luthier.errors import Unparseable
from luthier.lm.faults import ENDS_ALL, INFRASTRUCTURE
from luthier.lm.redact import redact

_HERE = str(Path(__file__).resolve().parents[1])
_LINE_LIMIT = 500
_TRACEBACK_LIMIT = 8000


def cause_of(error: BaseException) -> BaseException:
    """Return what really went wrong: user code may have wrapped it, or a task group collected it.

    What ends everything comes first, then infrastructure, then unreadable answers; else it is the error itself.
    An outage that user code turned into an error of its own is still an outage.
    """
    chain = list(_chain(error))
    for kinds in (ENDS_ALL, INFRASTRUCTURE, (Unparseable,)):
        for link in chain:
            if isinstance(link, kinds):
                return link
    return error


def is_infrastructure(error: BaseException) -> bool:
    """Say whether an error leaves a rollout unscored."""
    return isinstance(error, INFRASTRUCTURE)


def ran_out_of_time(error: BaseException) -> bool:
    """Say whether an error is a timeout or a cancellation, or came of one, even where its cause is suppressed."""
    kinds = (TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError)
    return any(isinstance(link, kinds) for link in _chain(error, suppressed=True))


def one_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message, keys removed."""
    message = str(error).strip().split("\n", 1)[0]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return redact(text)[:_LINE_LIMIT]


def user_traceback(error: BaseException) -> str:
    """Return an error's traceback from the first frame of the user's, keys removed."""
    shown = _skip_own(error.__traceback__)
    lines = traceback.format_exception(type(error), error, shown)
    return redact("".join(lines))[-_TRACEBACK_LIMIT:]


def _chain(error: BaseException, *, suppressed: bool = False) -> Iterator[BaseException]:
    """Yield an error, the errors a group holds, and what they came from; ``suppressed``: also ``from None``."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        if link.__cause__ is not None:
            waiting.append(link.__cause__)
        elif link.__context__ is not None and (suppressed or not link.__suppress_context__):
            waiting.append(link.__context__)


def _skip_own(frames: TracebackType | None) -> TracebackType | None:
    """Drop the leading frames of luthier; all are kept where none is the user's."""
    link = frames
    while link is not None and link.tb_frame.f_code.co_filename.startswith(_HERE):
        link = link.tb_next
    return frames if link is None else link
