"""``Luthier``: what DSPy's users put in the place of ``dspy.MIPROv2``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from luthier.api import optimize
from luthier.budget import Budget
from luthier.errors import ConfigError, DataError, DiscoveryError, Unparseable
from luthier.evaluation.splits import Splits, split
from luthier.integrations.dspy.client import lm_of
from luthier.integrations.dspy.data import Answered, Examples, metric_for, program_for
from luthier.integrations.dspy.engine import RUN, routed, run_here
from luthier.integrations.dspy.predictors import (
    bind_predictors,
    blamed,
    foreign_predictors,
    is_users,
    own_forward,
    tuned,
)
from luthier.integrations.foreign import ForeignPredictor
from luthier.lm.lm import LM
from luthier.optimizers.mipro import MIPRO
from luthier.optimizers.zero_shot_mipro import ZeroShotMIPRO
from luthier.program.program import find_program
from luthier.runner.config import Confirm
from luthier.runner.facts import Auto
from luthier.runner.optimizer import Optimizer
from luthier.runner.sizes import CANDIDATES, demo_sizes
from luthier.types import Role

_log = logging.getLogger("luthier.integrations.dspy")
_HALVABLE = 40
"""So many validation examples give one half to the verdict; fewer are too few for that."""


class Luthier(dspy.teleprompt.Teleprompter):  # type: ignore[misc]
    """Tunes a DSPy program with luthier; constructor and ``compile`` take the words of ``dspy.MIPROv2``.

    Args:
        metric: a DSPy metric: ``metric(example, prediction, trace=None)``, returning a bool, a number in [0, 1], or a
            ``dspy.Prediction(score=..., feedback=...)``.
        prompt_model: writes instructions; a ``dspy.LM`` or an ``lt.LM``. None: the task model.
        task_model: runs the program, where a predictor has no LM of its own. None: ``dspy.settings.lm``.
        teacher_settings: ``{"lm": ...}``: makes demonstrations. None: the task model.
        max_bootstrapped_demos: the most demos of a prompt that come from traces; None leaves it to luthier. With 0
            here and 0 labelled, instructions alone are tuned.
        max_labeled_demos: the most demos; see above.
        auto: ``"light"``, ``"medium"``, ``"heavy"``, or a number of program runs; None: what ``budget`` allows.
        num_candidates: instructions and demo sets for each predictor.
        num_threads: program runs at one time.
        seed: of the search.
        log_dir: where the study is kept; ``runs/<class of the program>`` where None.
        budget: limits on calls, tokens, dollars, seconds, over all models together.
        optimizer: an optimizer of luthier's instead of the one these words describe.
        store: a file of answers shared with other studies.
        on_event: gets every event of the study's journal.
        confirm: is shown the plan before the first paid call; False stops there.
        anyway: search although the baseline leaves nothing to win, where the study would stop.
        settings: MIPROv2's words that mean nothing here (``verbose``, ``track_stats``, ``max_errors``,
            ``init_temperature``), accepted so that a call need not change.

    Raises:
        ConfigError: a word is unknown, or contradicts another.
    """

    def __init__(  # noqa: PLR0913 - the words of MIPROv2's constructor
        self,
        metric: Callable[..., Any],
        prompt_model: Any = None,
        task_model: Any = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        auto: Literal["light", "medium", "heavy"] | int | None = "light",
        num_candidates: int | None = None,
        num_threads: int | None = None,
        seed: int = 0,
        log_dir: str | Path | None = None,
        *,
        budget: Budget | None = None,
        optimizer: str | Optimizer | None = None,
        store: str | Path | None = None,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        confirm: Confirm | None = None,
        anyway: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        if not callable(metric):
            raise ConfigError(f"metric={metric!r}: a DSPy metric is a function of (example, prediction, trace=None)")
        if unknown := sorted(settings.keys() - _IGNORED_AT_CONSTRUCTION):
            raise ConfigError(f"Luthier has no setting {', '.join(unknown)}")
        self.metric = metric
        self.prompt_model = prompt_model
        self.task_model = task_model
        self.teacher_settings = dict(teacher_settings or {})
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.auto: Auto | int | None = auto
        self.num_candidates = num_candidates
        self.num_threads = num_threads
        self.seed = seed
        self.log_dir = log_dir
        self.budget = budget
        self.optimizer = optimizer
        self.store = store
        self.on_event = on_event
        self.confirm = confirm
        self.anyway = anyway

    def compile(  # noqa: PLR0913 - the words of MIPROv2.compile
        self,
        student: Any,
        *,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
        testset: Sequence[Any] | None = None,
        teacher: Any = None,
        num_trials: int | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        seed: int | None = None,
        minibatch_size: int | None = None,
        **settings: Any,
    ) -> Any:
        """Return a tuned copy of a DSPy program, with the study's result as its ``luthier_result``.

        The copy has the recommended prompts: the program's own unless held-out examples say that the new ones are
        better; ``tuned(student, result.best)`` makes the best found whatever they say. Run again with the same
        arguments, it continues where it stopped.

        Args:
            student: any ``dspy.Module``; it stays as it is.
            trainset: demonstrations come from these.
            valset: candidates are compared on these. None: cut from ``trainset``.
            testset: the verdict is from these. None: half of ``valset`` where that has 40 examples or more, else cut
                from all that is given; 60 examples are needed in all.
            teacher: not taken; name a teacher's LM with ``teacher_settings={"lm": ...}``.
            num_trials: minibatch trials.
            max_bootstrapped_demos: overrules the constructor's, as do the next two.
            max_labeled_demos: see there.
            seed: see there.
            minibatch_size: examples a trial is scored on.
            settings: MIPROv2's further words, which mean nothing here.

        Raises:
            UserError: an argument, the data, the metric, or the program cannot be used; nothing was spent.
            StudyPaused: infrastructure failed; run again to resume.
            BudgetExhausted: the budget ended before the verdict.
            ProgramFailed: the program or the metric raised.
        """
        if teacher is not None:
            raise ConfigError("teacher= is not taken: a teacher is an LM here, teacher_settings={'lm': ...}")
        if unknown := sorted(settings.keys() - _IGNORED_AT_COMPILE):
            raise ConfigError(f"compile has no setting {', '.join(unknown)}")
        study = _Study.of(student, self.task_model, self.metric)
        optimizer = self.optimizer or self._mipro(
            self.max_bootstrapped_demos if max_bootstrapped_demos is None else max_bootstrapped_demos,
            self.max_labeled_demos if max_labeled_demos is None else max_labeled_demos,
            num_trials,
            minibatch_size,
        )
        result = optimize(
            study.program,
            study.cut(trainset, valset, testset),
            study.metric,
            lm=study.task,
            proposer_lm=None if self.prompt_model is None else lm_of(self.prompt_model),
            teacher_lm=None if self.teacher_settings.get("lm") is None else lm_of(self.teacher_settings["lm"]),
            optimizer=optimizer,
            auto=self.auto,
            budget=self.budget,
            study_dir=Path("runs") / type(student).__name__ if self.log_dir is None else self.log_dir,
            seed=self.seed if seed is None else seed,
            concurrency=self.num_threads or 64,
            inputs=study.examples.input_names,
            predictors=list(study.predictors.values()),
            store=self.store,
            on_event=self.on_event,
            confirm=self.confirm,
            anyway=self.anyway,
        )
        made = tuned(student, result.candidate)
        made._compiled = True
        made.luthier_result = replace(result, program=made)
        for model in sorted(study.unmetered):
            _log.warning(
                "%s was asked past luthier: neither counted nor budgeted, and an outage of it may score 0", model
            )
        return made

    def _mipro(
        self, bootstrapped: int | None, labeled: int | None, num_trials: int | None, minibatch: int | None
    ) -> Optimizer:
        common: dict[str, Any] = {"candidates": self.num_candidates, "trials": num_trials, "minibatch": minibatch}
        if bootstrapped == 0 and labeled == 0:
            return ZeroShotMIPRO(**common)
        if bootstrapped is None and labeled is None:
            return MIPRO(**common)
        largest = max(bootstrapped or 0, labeled or 0)
        sets = self.num_candidates or CANDIDATES[self.auto if isinstance(self.auto, str) else "light"]
        return MIPRO(**common, demo_sizes=demo_sizes(sets, largest))


_IGNORED_AT_CONSTRUCTION = {"verbose", "track_stats", "max_errors", "init_temperature"}
_IGNORED_AT_COMPILE = {
    "minibatch", "minibatch_full_eval_steps", "program_aware_proposer", "data_aware_proposer", "view_data_batch_size",
    "tip_aware_proposer", "fewshot_aware_proposer", "requires_permission_to_run", "provide_traceback",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Study:
    """A DSPy program made ready: a copy of it whose prompts and LM calls are luthier's."""

    program: Callable[..., Any]
    metric: Callable[..., Any]
    predictors: Mapping[str, ForeignPredictor]
    task: LM
    examples: Examples
    unmetered: set[str]

    @staticmethod
    def of(student: Any, task_model: Any, metric: Callable[..., Any]) -> _Study:
        """Copy a program once and lead its calls through luthier.

        Raises:
            ConfigError: there is no LM.
            DiscoveryError: it is no DSPy module, or has no predictor to tune.
        """
        if not isinstance(student, dspy.Module):
            raise DiscoveryError(f"a student is a dspy.Module, not {student!r:.200}")
        default = task_model if task_model is not None else _lm_in_use(student)
        if default is None:
            raise ConfigError("no LM: dspy.configure(lm=dspy.LM(...)), or task_model=, a dspy.LM or an lt.LM")
        module = student.deepcopy()
        own = _own_lms(module, default)
        predictors = foreign_predictors(module, own)
        if not predictors:
            raise DiscoveryError(f"{type(student).__name__} has no dspy.Predict to tune (a compiled part stays frozen)")
        bind_predictors(module, predictors)
        gateway_lm = _route(module, default, own)
        examples, unmetered = Examples(), set[str]()
        settings = _settings(gateway_lm, unmetered)
        is_async = not _overrides(type(module), "forward") and _overrides(type(module), "aforward")
        runner = _runner(module, examples, settings, is_async=is_async)
        return _Study(
            program_for(module, runner, is_async=is_async, parts=_functions(module)),
            metric_for(metric, examples, settings),
            predictors,
            lm_of(default),
            examples,
            unmetered,
        )

    def cut(self, train: Sequence[Any], val: Sequence[Any] | None, test: Sequence[Any] | None) -> Any:
        """Return the data as ``lt.optimize`` takes them."""
        if not train:
            raise DataError("trainset is empty")
        training = self.examples.rows(train, "trainset")
        if val is None:
            if test is not None:
                raise DataError("testset is given, but no valset to choose candidates on")
            return training
        validation = self.examples.rows(val, "valset")
        if test is not None:
            return Splits(training, validation, self.examples.rows(test, "testset"))
        if len(validation) < _HALVABLE:
            return [*training, *validation]
        half = len(validation) // 2
        program = find_program(self.program, list(self.predictors.values()))
        sizes = (half, len(validation) - half, 0)
        parts = split(validation, program, inputs=self.examples.input_names, sizes=sizes)
        return Splits(training, *([dict(row.example) for row in part] for part in (parts.train, parts.val)))


def _lm_in_use(student: Any) -> Any:
    """Return the LM that a program would ask: DSPy's configured one, else the one its predictors agree on."""
    if dspy.settings.lm is not None:
        return dspy.settings.lm
    own = {id(predict.lm): predict.lm for predict in student.predictors() if predict.lm is not None}
    return next(iter(own.values())) if len(own) == 1 else None


def _own_lms(module: Any, default: Any) -> dict[int, LM]:
    """Return luthier's LM for every DSPy LM that a part has of its own, apart from the task model, by its id."""
    found = {id(part.lm): part.lm for part in _parts(module) if part.lm is not default}
    return {name: lm_of(lm) for name, lm in found.items()}


def _route(module: Any, default: Any, own: Mapping[int, LM]) -> Any:
    """Lead the LMs of a module's own parts through luthier; return what stands for the default one."""
    standing = routed(default, None)
    others: dict[int, Any] = {}
    for part in list(_parts(module)):
        lm = part.lm
        if lm is default:
            part.lm = standing
        else:
            part.lm = others.setdefault(id(lm), routed(lm, own[id(lm)]))
    return standing


def _parts(module: Any) -> Iterator[Any]:
    """Yield the parts of a module that have an LM of their own."""
    for _, part in module.named_sub_modules(dspy.Module):
        if isinstance(getattr(part, "lm", None), dspy.BaseLM):
            yield part


def _settings(gateway_lm: Any, unmetered: set[str]) -> Callable[..., Any]:
    """Return what opens DSPy's settings, as they are now, for one run of luthier's."""
    taken = {name: value for name, value in dspy.settings.copy().items() if name not in _PER_RUN}
    taken["callbacks"] = [*(taken.get("callbacks") or []), _Watch(unmetered)]

    @contextmanager
    def opened(trace: list[Any] | None = None) -> Iterator[None]:
        own = {"lm": gateway_lm, "trace": trace, RUN: run_here(), "disable_history": True, "send_stream": None}
        with dspy.context(**{**taken, **own}):
            yield

    return opened


_PER_RUN = frozenset({"lm", "trace", "disable_history", "send_stream", "caller_modules", "caller_predict", RUN})


class _Watch(BaseCallback):  # type: ignore[misc]
    """Sees the LMs that are asked past luthier."""

    def __init__(self, unmetered: set[str]) -> None:
        self._unmetered = unmetered

    def on_lm_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """Note an LM that no engine of luthier's answers for."""
        from luthier.integrations.dspy.engine import GatewayEngine

        if not isinstance(getattr(instance, "_engine_spec", None), GatewayEngine):
            self._unmetered.add(str(getattr(instance, "model", type(instance).__name__)))


def _runner(module: Any, examples: Examples, settings: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    def trace_for_teacher(trace: list[Any]) -> list[Any] | None:
        run = run_here()
        return trace if run is not None and run.role is Role.TEACHER else None

    def run(parts: Any, inputs: Mapping[str, Any]) -> Answered:
        trace: list[Any] = []
        with settings(trace), _unparseable():
            return Answered(module(**examples.inputs(inputs)), trace_for_teacher(trace))

    async def arun(parts: Any, inputs: Mapping[str, Any]) -> Answered:
        trace: list[Any] = []
        with settings(trace), _unparseable():
            return Answered(await module.acall(**examples.inputs(inputs)), trace_for_teacher(trace))

    return arun if is_async else run


@contextmanager
def _unparseable() -> Iterator[None]:
    """An answer that DSPy's adapters could not read is an outcome, not an error of the program."""
    try:
        yield
    except AdapterParseError as error:
        said = str(error).strip().split("\n", 1)[0]
        raise Unparseable(said, text=str(error.lm_response), predictor=blamed(error)) from error


def _functions(module: Any) -> tuple[Any, ...]:
    """Return what the user wrote in a module and its parts: bound, so that what ``self`` holds can be followed."""
    found = []
    for _, part in module.named_sub_modules(dspy.Module):
        if is_users(type(part)):
            found.append(MethodType(own_forward(type(part)), part))
    return tuple(found)


def _overrides(kind: type, name: str) -> bool:
    return getattr(kind, name, None) is not getattr(dspy.Module, name, None)
