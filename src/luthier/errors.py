"""Every error luthier raises on purpose, drawn as one tree.

LuthierError
├── UserError                 the input is wrong; nothing was spent (exit code 2)
│   ├── SignatureError        a predictor's signature cannot be used
│   ├── DiscoveryError        the program's predictors cannot be named
│   ├── DataError             a data set is missing, empty, or lacks a column
│   ├── MetricError           the metric is of the wrong shape, or returned no score
│   ├── ConfigError           a setting, LM name, price, or path is wrong
│   ├── CandidateError        saved prompts do not fit the program
│   └── StudyMismatch         the directory holds another study
├── Unparseable               the LM answered, but not in the form asked
├── LMError
│   ├── Unavailable           infrastructure: retried, then unscored, never a score
│   │   ├── RateLimited       429
│   │   ├── ServerFault       5xx, a cut or malformed body
│   │   ├── CallTimeout       no answer in time
│   │   └── Unreachable       the connection was refused or reset
│   ├── AccessDenied          authentication or quota: pauses the study at once
│   └── RequestRejected       the server refuses this request for good (400, 404, 422)
├── BudgetExhausted           the next call does not fit the budget
├── ProgramFailed             user code raised where that ends the study (exit code 5)
├── StudyPaused               stopped by infrastructure; run again to resume (exit code 4)
├── WeightsError              a model file could not be fetched, verified, or loaded
├── JournalError              a journal is damaged or from a newer version
└── StoreError                a store is damaged or cannot be written
"""

from __future__ import annotations


class LuthierError(Exception):
    """Base of all errors raised by luthier."""


class UserError(LuthierError):
    """The input is wrong; the message says what, where, and what to do."""


class SignatureError(UserError):
    """A predictor's signature cannot be used."""


class DiscoveryError(UserError):
    """The program has no predictors, or two of one name."""


class DataError(UserError):
    """A data set is missing, empty, or lacks a column."""


class MetricError(UserError):
    """The metric is of the wrong shape or returned something that is no score."""


class ConfigError(UserError):
    """A setting, LM name, price, or path is wrong."""


class CandidateError(UserError):
    """Saved prompts do not fit the program they are loaded for."""


class StudyMismatch(UserError):
    """The study directory holds a study of something else."""


class Unparseable(LuthierError):
    """The LM answered, but not in the form asked.

    Attributes:
        text: what the LM answered.
        predictor: the name of the predictor that could not read it.
        refused: whether there is none to be read, since the prompt was refused: too long, or flagged.
    """

    def __init__(self, message: str, *, text: str = "", predictor: str = "", refused: bool = False) -> None:
        super().__init__(message)
        self.text = text
        self.predictor = predictor
        self.refused = refused


class LMError(LuthierError):
    """A language model could not answer."""


class Unavailable(LMError):
    """Infrastructure failed. Raise it from user code to have a rollout left unscored.

    Attributes:
        retry_after: seconds the server asked to wait, or None.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Unavailable):
    """The server asked for fewer requests (429)."""


class ServerFault(Unavailable):
    """The server failed (5xx) or sent a cut or malformed body."""


class CallTimeout(Unavailable):
    """The server did not answer in time."""


class Unreachable(Unavailable):
    """The connection was refused, reset, or never made."""


class AccessDenied(LMError):
    """Authentication failed or a quota is used up; waiting will not help."""


class RequestRejected(LMError):
    """The server refuses this very request; sending it again will not help.

    Attributes:
        parameter: the field of the request that the server's words are about, or None.
        value_only: only the field's value is wrong.
    """

    def __init__(self, message: str = "", *, parameter: str | None = None, value_only: bool = False) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.value_only = value_only


class BudgetExhausted(LuthierError):
    """The next call does not fit the budget."""


class ProgramFailed(LuthierError):
    """User code raised where that ends the study."""


class StudyPaused(LuthierError):
    """The study was stopped by infrastructure and can be resumed."""


class WeightsError(LuthierError):
    """A model file could not be fetched, verified, or loaded."""


class UnmeteredWarning(UserWarning):
    """Calls are made that luthier sees nothing of, so a budget cannot cap them."""


class LabelWarning(UserWarning):
    """Labels that no answer of the program can match, or that none has matched."""


class JournalError(LuthierError):
    """A journal is damaged or was written by a newer luthier."""


class StoreError(LuthierError):
    """A store is damaged or cannot be written."""
