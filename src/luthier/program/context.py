"""The run that predictors find themselves in, carried by a context variable."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from luthier.canonical import uniform_order
from luthier.errors import ConfigError
from luthier.lm.faults import ENDS_ALL, INFRASTRUCTURE, GivenUp
from luthier.lm.request import Usage
from luthier.program.candidate import Candidate
from luthier.program.trace import Call, Trace
from luthier.types import Role

if TYPE_CHECKING:
    from luthier.lm.gateway import Gateway
    from luthier.lm.lm import LM
    from luthier.program.component import Component
    from luthier.program.lms import Answered, LMs


_GIVEN_UP = "the program gave a call up before the LM had answered; what depends on time is no score"


@dataclass(slots=True)
class Run:
    """One run of a program: which LM answers, with which prompts, on whose behalf. Safe to share between threads."""

    lm: LM
    """The run's own: it judges, and answers every predictor that has no other."""
    gateway: Gateway
    candidate: Candidate | None = None
    """None, or a predictor it does not name: the original prompt."""
    role: Role = Role.TASK
    repeat: int = 0
    """Which repeat of this candidate on this example."""
    example: str = ""
    temperature: float | None = None
    """Overrules every other temperature, as bootstrap rounds do."""
    lms: LMs | None = None
    """Who answers which predictor, where that is not left to ``lm`` and the predictors."""
    bypass_cache: bool = False
    """Ask once more what was asked before, at temperature 0, too: to see whether the answer is the same."""
    trace: Trace = field(default_factory=Trace)
    known: frozenset[str] | None = None
    """Names of the components that are known; None: nobody asks."""
    on_new: Callable[[Component], None] | None = None
    """Told, once per run, of each component whose name is not known."""
    failures: list[Exception] = field(default_factory=list)
    """What kept the LM from answering: user code may swallow it, but an outage is never a score."""
    private: dict[str, None] = field(default_factory=dict)
    """Texts of private fields that a watcher met in this run, to be shown nowhere."""
    ambient: bool = False
    """Outside a study: it may live as long as a service, so it keeps neither trace nor counts."""
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    """Guards the counts and ``_met``: users may call predictors from threads of their own."""
    _waiting: int = field(default=0, repr=False)
    """How many calls have no answer yet."""
    _calls: dict[str, int] = field(default_factory=dict, repr=False)
    _same: dict[str, int] = field(default_factory=dict, repr=False)
    _met: set[str] = field(default_factory=set, repr=False)

    def lm_of(self, predictor: Answered) -> LM:
        """Return the LM that answers a predictor.

        Raises:
            ConfigError: nothing says which.
        """
        return (predictor.lm or self.lm) if self.lms is None else self.lms.of(predictor)

    def begin(self, predictor: Component) -> int:
        """Number a call of a predictor, in order of start, and report the predictor if it is new."""
        name = predictor.name
        with self._lock:
            index = self._calls.get(name, 0)
            self._calls[name] = index + 1
        self._meet(predictor)
        return index

    def read(self, text: Component) -> None:
        """Note that the program reads a text, and report the text if it is new."""
        if not self.ambient:
            self.trace.read.add(text.name)
            self._meet(text)

    def sample(self, predictor: str, key: Callable[[], str]) -> int:
        """Number the draw of a request above temperature 0, or of one that bypasses the cache.

        It depends on the repeat, the predictor, and which call with this same request it is, so a
        minibatch and a full evaluation of one candidate share draws.
        """
        count = self.count_same(f"{predictor}/{'' if self.ambient else key()}")
        # 52 bits are exact in every JSON reader; 0 is for temperature 0.
        return (uniform_order(f"{self.repeat}/{predictor}", str(count)) >> 12) | 1

    def count_same(self, word: str) -> int:
        """Return how often this word was counted before in the run."""
        with self._lock:
            count = self._same.get(word, 0)
            self._same[word] = count + 1
        return count

    def record(self, call: Call) -> None:
        """Add a call that has ended to the trace."""
        if not self.ambient:
            self.trace.calls.append(call)

    def note_outside(self, lm: str, usage: Usage) -> None:
        """Add what a client of the user's used outside of any call that ended well."""
        if not self.ambient:
            with self._lock:
                self.trace.outside[lm] = self.trace.outside.get(lm, Usage()) + usage

    def _meet(self, component: Component) -> None:
        with self._lock:
            new = self.known is not None and component.name not in self.known and component.name not in self._met
            self._met.add(component.name)
        if new and self.on_new is not None:
            self.on_new(component)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Keep in mind what keeps the LM, or the store, from answering, a cancellation of the call included."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        except (*ENDS_ALL, *INFRASTRUCTURE) as error:
            self._note_failure(error)
            raise
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            self._note_failure(GivenUp(_GIVEN_UP))
            raise
        finally:
            with self._lock:
                self._waiting -= 1

    @property
    def unanswered(self) -> list[Exception]:
        """What kept the LM from answering; calls that wait while the program has ended were given up by it, too."""
        with self._lock:
            late = self._waiting > 0 and not any(isinstance(failure, GivenUp) for failure in self.failures)
        return [*self.failures, *([GivenUp(_GIVEN_UP)] if late else [])]

    def _note_failure(self, error: Exception) -> None:
        # One of a kind will do, since user code may ask again and again; nobody reads those outside a study.
        if not self.ambient and type(error) not in map(type, self.failures):
            self.failures.append(error)

    def judge(self) -> Run:
        """Return the run for this run's metric: no candidate, a trace that nobody reads, the role of a judge."""
        return Run(
            self.lm,
            self.gateway,
            role=Role.JUDGE,
            repeat=self.repeat,
            example=self.example,
            failures=self.failures,
            private=self.private,
        )


class LostCalls:
    """Predictors called where there is no run, for one in a thread that a program started without its context.

    Such a thread's error reaches nobody, so it is reported with what the program makes of the missing answer.
    """

    def __init__(self) -> None:
        self.count = 0
        self._latest: dict[str, tuple[int, ConfigError]] = {}
        self._lock = threading.Lock()  # guards both

    def note(self, predictor: str, error: ConfigError) -> None:
        """Keep in mind that this predictor's call was lost."""
        with self._lock:
            self.count += 1
            self._latest[predictor] = (self.count, error)

    def since(self, count: int, predictors: Collection[str]) -> ConfigError | None:
        """Return the error of a call of one of these predictors after that many calls were lost, or None."""
        with self._lock:
            found = [self._latest[name] for name in predictors if name in self._latest]
        return next((error for number, error in found if number > count), None)


lost_calls = LostCalls()
"""Those of this process."""
_current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("luthier_run", default=None)


def current_run() -> Run | None:
    """Return the run of this context, None outside of any."""
    return _current.get()


@functools.cache
def outside_run() -> Run:
    """Return the run of predictors that make their own calls where none runs: the original prompts, nobody's bill."""
    from luthier.lm.lm import LM

    return Run(LM(_nobody), cast("Gateway", None), ambient=True)


def _nobody(request: object) -> str:
    raise ConfigError("no LM answers outside of any run")


@contextmanager
def running(run: Run | None) -> Iterator[None]:
    """Make ``run`` the current one inside the ``with`` block."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
