"""How a study was started from the command line: kept in its manifest, so that ``resume`` can start it again."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from luthier.cli.importing import load
from luthier.cli.options import LAUNCH
from luthier.errors import ConfigError, JournalError

P = ParamSpec("P")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

METRICS = ("exact_match", "normalized_match", "token_f1", "contains", "numeric_match", "set_match")
_PYTHON = "python:"
_NOT_SENT = "none"


@dataclass(frozen=True, slots=True)
class Launch:
    """The options of ``luthier optimize``, as JSON can hold them; keys of LMs only by the variable that has them."""

    program: str
    data: str
    metric: str
    lm: str
    lm_for: tuple[str, ...] = ()
    """``PREDICTOR=MODEL``, each."""
    predictor_metric: tuple[str, ...] = ()
    """``PREDICTOR=METRIC``, each."""
    proposer_lm: str | None = None
    teacher_lm: str | None = None
    optimizer: str = "mipro"
    auto: str | None = None
    budget_usd: float | None = None
    budget_calls: int | None = None
    budget_tokens: int | None = None
    budget_seconds: float | None = None
    seed: int = 0
    split_seed: int = 0
    concurrency: int = 64
    executor: str = "local"
    inputs: tuple[str, ...] = ()
    group: str | None = None
    start: tuple[str, ...] = ()
    base_url: str | None = None
    api_key_env: str | None = None
    price_in: float | None = None
    price_out: float | None = None
    temperature: float | str | None = None
    """Text as it was written, ``none`` included; a number in studies from before that was possible."""
    max_tokens: int | str | None = None
    endpoint: str | None = None
    reasoning_effort: str | None = None
    extra: tuple[str, ...] = ()
    """``NAME=JSON``, each."""

    def to_json(self) -> dict[str, Any]:
        """Return the options that are set, as JSON."""
        named = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in named.items() if value is not None and value != []}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Launch:
        """Read options back.

        Raises:
            JournalError: an option is unknown (a newer luthier wrote it), or a needed one is missing.
        """
        known = {field.name for field in fields(Launch)}
        if unknown := sorted(set(data) - known):
            raise JournalError(f"the study was started with options this luthier does not know: {', '.join(unknown)}")
        try:
            listed = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
            return Launch(**{**data, **listed})
        except TypeError as error:
            raise JournalError(f"the study's launch options are incomplete: {error}") from error

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``luthier.optimize``; imports the user's modules.

        Raises:
            UserError: an option names something that is not there.
            ProgramFailed: a module of the user raised while it was imported.
        """
        return {
            "program": load(self.program, "the program"),
            "data": self.data,
            "metric": metric_named(self.metric),
            "predictor_metrics": self.predictor_metrics() or None,
            "lm": self.lms(),
            "proposer_lm": None if self.proposer_lm is None else self.made(self.proposer_lm),
            "teacher_lm": None if self.teacher_lm is None else self.made(self.teacher_lm),
            "optimizer": self.optimizer,
            "auto": int(self.auto) if self.auto is not None and self.auto.isdecimal() else self.auto,
            "budget": self.budget(),
            "seed": self.seed,
            "split_seed": self.split_seed,
            "concurrency": self.concurrency,
            "executor": self.executor,
            "inputs": list(self.inputs) or None,
            "group": self.group,
            "start": list(self.start),
            "launch": self.to_json(),
        }

    def budget(self) -> Any:
        """Return the limits as a ``luthier.Budget``, None where there are none."""
        from luthier.budget import Budget

        limits = (self.budget_usd, self.budget_calls, self.budget_tokens, self.budget_seconds)
        if all(limit is None for limit in limits):
            return None
        return Budget(
            usd=self.budget_usd,
            lm_calls=self.budget_calls,
            tokens=self.budget_tokens,
            seconds=self.budget_seconds,
        )

    def limits(self) -> list[str]:
        """Return the budget options that are set, as they are written."""
        return [f"--{name.replace('_', '-')}" for name in self.to_json() if name.startswith("budget_")]

    def lms(self) -> Any:
        """Return the LM, or a mapping by predictor where some predictor has another one.

        Raises:
            ConfigError: ``--lm-for`` is not of the form ``PREDICTOR=MODEL``.
        """
        if not self.lm_for:
            return self.made(self.lm)
        found = {"*": self.made(self.lm)}
        for pair in self.lm_for:
            predictor, sign, model = pair.partition("=")
            if not (predictor and sign and model):
                raise ConfigError(f"--lm-for {pair}: write PREDICTOR=MODEL, as in short_answer=openai/gpt-4.1")
            if predictor in found:
                raise ConfigError(f"--lm-for {pair}: {predictor} has an LM already")
            found[predictor] = self.made(model)
        return found

    def predictor_metrics(self) -> dict[str, Any]:
        """Return the metrics of predictors, by name.

        Raises:
            ConfigError: ``--predictor-metric`` is not of the form ``PREDICTOR=METRIC``, or there is no such metric.
        """
        found: dict[str, Any] = {}
        for pair in self.predictor_metric:
            predictor, sign, metric = pair.partition("=")
            if not (predictor and sign and metric):
                raise ConfigError(f"--predictor-metric {pair}: write PREDICTOR=METRIC, as in queue=exact_match:queue")
            if predictor in found:
                raise ConfigError(f"--predictor-metric {pair}: {predictor} has a metric already")
            found[predictor] = metric_named(metric)
        return found

    def made(self, name: str) -> Any:
        """Return the LM of that name with the options that concern it.

        Raises:
            ConfigError: the options do not fit it.
        """
        from luthier.lm.lm import LM, Price

        settings: dict[str, Any] = {
            option: getattr(self, option)
            for option in ("endpoint", "reasoning_effort")
            if getattr(self, option) is not None
        }
        for option, kind in (("temperature", float), ("max_tokens", int)):
            if (given := getattr(self, option)) is not None:
                settings[option] = _number_or_none(f"--{option.replace('_', '-')}", given, kind)
        if self.extra:
            settings["extra"] = dict(_field(pair) for pair in self.extra)
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("--price-in and --price-out belong together: dollars per million tokens in and out")
        if self.price_in is not None and self.price_out is not None:
            settings["price"] = Price(input=self.price_in, output=self.price_out)
        if name.startswith(_PYTHON):
            found = load(name.removeprefix(_PYTHON), "the LM")
            # An LM made in Python has its own settings, and its own price.
            return found if isinstance(found, LM) else LM(found, **settings)
        if not name.startswith("local/"):
            settings |= {"base_url": self.base_url, "api_key": self._api_key()}
        return LM(name, **settings)

    def _api_key(self) -> str | None:
        import os

        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise ConfigError(
                f"--api-key-env {self.api_key_env}: there is no such environment variable, or it is empty"
            )
        return key


_DEFAULTS = {field.name: field.default for field in fields(Launch)}


def launched(*names: str) -> Callable[[Callable[Concatenate[Launch, P], None]], Callable[P, None]]:
    """Give a command the options of that name (``options.LAUNCH``), read into one ``Launch``, its first argument."""

    def decorate(command: Callable[Concatenate[Launch, P], None]) -> Callable[P, None]:
        own = [one.replace(kind=_KEYWORD) for one in inspect.signature(command, eval_str=True).parameters.values()][1:]
        options = [inspect.Parameter(name, _KEYWORD, default=_default(name), annotation=LAUNCH[name]) for name in names]

        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            given = {name: kwargs.pop(name) for name in names if name in kwargs}
            return command(Launch(**{name: _read(name, value) for name, value in given.items()}), *args, **kwargs)

        run.__signature__ = inspect.Signature([*options, *own])  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in (*options, *own)}
        return run

    return decorate


def _default(name: str) -> Any:
    """Return what an option is where it is left out; typer knows no tuples."""
    default = _DEFAULTS[name]
    return inspect.Parameter.empty if default is MISSING else None if default == () else default


def _read(name: str, value: Any) -> Any:
    """Return an option as a launch has it."""
    if name == "inputs":
        return columns(value)
    if name == "base_url":
        return check_url(value)
    if name == "auto" and value not in (None, "light", "medium", "heavy") and not value.isdecimal():
        raise ConfigError(f"--auto {value}: must be light, medium, heavy, or a number of program runs")
    return tuple(value or ()) if isinstance(_DEFAULTS[name], tuple) else value


def columns(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _number_or_none(option: str, given: Any, kind: Callable[[Any], Any]) -> Any:
    if str(given).lower() == _NOT_SENT:
        return None
    try:
        return kind(given)
    except ValueError as error:
        raise ConfigError(f"{option} {given}: write a number, or {_NOT_SENT} to leave it to the server") from error


def _field(pair: str) -> tuple[str, Any]:
    """Return a further field of requests; a plain word is a text.

    Raises:
        ConfigError: it is not of the form ``NAME=JSON``, or holds a key, which would be written to disk.
    """
    from luthier.lm.redact import redact

    name, sign, value = pair.partition("=")
    if not (name and sign):
        raise ConfigError(f"--extra {pair}: write NAME=JSON, as in top_k=40")
    if redact(pair) != pair:
        raise ConfigError(f"--extra {name}=… must hold no key: put it in a variable and name it with --api-key-env")
    try:
        return name, json.loads(value)
    except ValueError as error:
        if value.lstrip().startswith(("{", "[", '"')):
            raise ConfigError(f"--extra {pair}: not the JSON that it begins as ({error})") from error
        return name, value


def metric_named(name: str) -> Any:
    """Return a built-in metric (``exact_match``, ``exact_match:field``), or the function a reference names.

    Raises:
        ConfigError: there is no such metric.
        ProgramFailed: the user's module raised while it was imported.
    """
    head, _, field = name.partition(":")
    if head in METRICS:
        from luthier.evaluation import metrics

        metric = getattr(metrics, head)
        return metric(field) if field else metric
    near = get_close_matches(head, METRICS, n=1)
    if near and not Path(head).exists() and find_spec(head) is None:
        raise ConfigError(f"--metric {name}: there is no metric {head!r}; did you mean {near[0]}?")
    if ":" not in name:
        raise ConfigError(
            f"--metric {name}: write MODULE:FUNCTION, or one of {', '.join(METRICS)}, with :COLUMN if need be"
        )
    return load(name, "the metric")


def check_url(url: str | None) -> str | None:
    """Return a base URL that may be written to disk.

    Raises:
        ConfigError: it holds a password.
    """
    from urllib.parse import urlsplit

    if url is None:
        return None
    try:
        parts = urlsplit(url)
        held = parts.username or parts.password
    except ValueError as error:
        raise ConfigError(f"--base-url {url}: {error}") from error
    if held:
        raise ConfigError(
            "--base-url must hold no credentials: put the key in a variable and name it with --api-key-env"
        )
    return url
