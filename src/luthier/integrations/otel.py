"""OpenTelemetry: studies, trials, rollouts, and LM calls as spans, by the conventions for generative AI."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier._version import __version__
from luthier.errors import ConfigError
from luthier.evaluation.rollout import Outcome
from luthier.integrations.genai import (
    attributes_of_answer,
    attributes_of_call,
    keep_private,
    span_name,
    texts_of_answer,
    texts_of_call,
)
from luthier.lm.middleware.call import Call
from luthier.program.context import Run, current_run
from luthier.types import Role
from luthier.watching import watching

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

_MISSING = "OpenTelemetry is not installed: pip install 'luthier[otel]'"


@contextmanager
def tracing(
    provider: TracerProvider | None = None, *, endpoint: str | None = None, content: bool = False
) -> Iterator[None]:
    """Make spans of all studies, evaluations, and bound programs of this process until the block ends.

    A study's span holds those of its steps and trials, these their rollouts, and these their LM calls. A call outside
    of any study belongs to whatever span is current where the program is called.

    Args:
        provider: what makes the spans; where both are left out, OpenTelemetry's global one, which your service sets up.
        endpoint: send them to this OTLP/HTTP address in batches, as in ``http://localhost:4318/v1/traces``; where
            empty, to the one in ``OTEL_EXPORTER_OTLP_ENDPOINT``, or this one.
        content: also tell what is sent and answered, without keys and without ``lt.Private`` fields. It may hold
            your data.

    Raises:
        ConfigError: OpenTelemetry is not installed, or both ``provider`` and ``endpoint`` are given.
    """
    if provider is not None and endpoint is not None:
        raise ConfigError("give a provider or an endpoint, not both")
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    own = None if endpoint is None else _sending_to(endpoint)
    tracer = trace.get_tracer("luthier", __version__, tracer_provider=own or provider)
    try:
        with watching(Spans(tracer, content=content)):
            yield
    finally:
        if own is not None:
            own.shutdown()


def _sending_to(endpoint: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before this default.
    default = Resource({"service.name": "luthier"})
    detected = Resource.create()
    nameless = str(detected.attributes.get("service.name", "")).startswith("unknown_service")
    provider = TracerProvider(resource=detected.merge(default) if nameless else detected)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint or None)))
    return provider


@dataclass(slots=True)
class _Study:
    """What is open in a study, for what runs in other tasks."""

    name: str
    trials: dict[int, _Trial] = field(default_factory=dict)


@dataclass(slots=True)
class _Trial:
    """A trial under way: the context its rollouts belong in, and how they went so far."""

    context: Context
    scores: list[float] = field(default_factory=list)


_study: contextvars.ContextVar[_Study | None] = contextvars.ContextVar("luthier_otel_study", default=None)


@dataclass(slots=True)
class _Open:
    """A span that has begun."""

    kind: str
    span: Span
    token: Any = None
    study: contextvars.Token[_Study | None] | None = None


class Spans:
    """Watches, and makes spans of what it sees."""

    def __init__(self, tracer: Tracer, *, content: bool) -> None:
        self._tracer = tracer
        self._content = content

    def begin(self, kind: str, facts: dict[str, Any]) -> Any:
        """Begin a span under the current one; a rollout's belongs to its trial."""
        return getattr(self, f"_begin_{kind}", self._begin_other)(kind, facts)

    def end(self, begun: Any, facts: dict[str, Any], error: BaseException | None) -> None:
        """End the span, with what came of it."""
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        if begun is None:
            return
        opened: _Open = begun
        try:
            if error is not None:
                # Only the kind: a message may quote what the program was given.
                opened.span.set_attribute("error.type", type(error).__qualname__)
                opened.span.set_status(Status(StatusCode.ERROR))
            elif (closing := getattr(self, f"_end_{opened.kind}", None)) is not None:
                closing(opened.span, facts)
        finally:
            opened.span.end()
            if opened.kind == "trial" and (study := _study.get()) is not None:
                study.trials.pop(facts["number"], None)
            if opened.study is not None:
                _study.reset(opened.study)
            if opened.token is not None:
                context.detach(opened.token)

    def _begin_study(self, kind: str, facts: dict[str, Any]) -> _Open:
        manifest = facts["events"][0] if facts["events"] else {}
        name = facts["directory"].name
        fields = {
            "luthier.study": name,
            "luthier.study.program": _word(manifest.get("program")),
            "luthier.study.optimizer": _word((manifest.get("optimizer") or {}).get("name")),
            "luthier.study.resumed": len(facts["events"]) > 1,
        }
        opened = self._open(kind, f"study {name}", fields)
        opened.study = _study.set(_Study(name))
        return opened

    def _begin_step(self, kind: str, facts: dict[str, Any]) -> _Open:
        return self._open(kind, f"step {facts['name']}", {**_in_study(), "luthier.step": facts["name"]})

    def _begin_trial(self, kind: str, facts: dict[str, Any]) -> _Open:
        from opentelemetry.trace import set_span_in_context

        number = facts["number"]
        fields = {**_in_study(), "luthier.trial": number, "luthier.trial.purpose": facts["purpose"]}
        # Trials of a batch overlap, so none is the current span: rollouts find theirs by its number.
        opened = self._open(kind, f"trial {number}", fields, current=False)
        if (study := _study.get()) is not None:
            study.trials[number] = _Trial(set_span_in_context(opened.span))
        return opened

    def _end_trial(self, span: Span, facts: dict[str, Any]) -> None:
        study = _study.get()
        if study is not None and (scores := study.trials[facts["number"]].scores):
            span.set_attribute("luthier.score", sum(scores) / len(scores))

    def _begin_rollout(self, kind: str, facts: dict[str, Any]) -> _Open:
        job, study = facts["job"], _study.get()
        if self._content:
            _keep_private(facts)
        fields = {**_in_study(), **_on_behalf(facts["run"]), "luthier.candidate": job.candidate.key[:12]}
        if job.trial is not None:
            fields["luthier.trial"] = job.trial
        trial = None if study is None or job.trial is None else study.trials.get(job.trial)
        return self._open(kind, "rollout", fields, None if trial is None else trial.context)

    def _end_rollout(self, span: Span, facts: dict[str, Any]) -> None:
        from opentelemetry.trace import Status, StatusCode

        rollout, study = facts["rollout"], _study.get()
        span.set_attribute("luthier.outcome", rollout.outcome.value)
        if rollout.score is not None:
            span.set_attribute("luthier.score", rollout.score.value)
            if study is not None and rollout.job.trial in study.trials:
                study.trials[rollout.job.trial].scores.append(rollout.score.value)
        if rollout.outcome is not Outcome.SCORED:
            span.set_attribute("error.type", rollout.outcome.value)
            span.set_status(Status(StatusCode.ERROR))

    def _begin_call(self, kind: str, facts: dict[str, Any]) -> _Open:
        from opentelemetry.trace import SpanKind

        call, run = facts["call"], current_run()
        fields = {**_in_study(), **attributes_of_call(facts["lm"], call), "luthier.role": call.role}
        if run is not None:
            fields |= _on_behalf(run) | {"luthier.role": call.role}
            if run.ambient and run.candidate is not None:
                fields["luthier.candidate"] = run.candidate.key[:12]
        if self._content and _may_tell(call, run):
            fields |= texts_of_call(call, run)
        return self._open(kind, span_name(facts["lm"], call.request), fields, span_kind=SpanKind.CLIENT, current=False)

    def _end_call(self, span: Span, facts: dict[str, Any]) -> None:
        call, completion = facts["call"], facts["completion"]
        span.set_attributes(attributes_of_answer(call, completion))
        if self._content and _may_tell(call, current_run()):
            span.set_attributes(texts_of_answer(completion, current_run()))

    def _begin_other(self, kind: str, facts: dict[str, Any]) -> None:
        """Make no span of a kind that is not known here."""

    def _open(
        self,
        kind: str,
        name: str,
        fields: Mapping[str, Any],
        parent: Context | None = None,
        *,
        span_kind: Any = None,
        current: bool = True,
    ) -> _Open:
        from opentelemetry import context
        from opentelemetry.trace import SpanKind, set_span_in_context

        attributes = {name: value for name, value in fields.items() if value is not None}
        span = self._tracer.start_span(name, parent, span_kind or SpanKind.INTERNAL, attributes)
        return _Open(kind, span, context.attach(set_span_in_context(span, parent)) if current else None)


def _in_study() -> dict[str, Any]:
    study = _study.get()
    return {} if study is None else {"luthier.study": study.name}


def _on_behalf(run: Run) -> dict[str, Any]:
    fields: dict[str, Any] = {"luthier.role": run.role.value}
    return fields | ({"luthier.example": run.example, "luthier.repeat": run.repeat} if run.example else {})


def _keep_private(facts: Mapping[str, Any]) -> None:
    """Note the private texts of a rollout's row before anything of it is shown."""
    from luthier.propose.fields import private_names

    example = facts["row"].example
    keep_private(facts["run"], [example[name] for name in private_names(facts["program"]) if name in example])


def _may_tell(call: Call, run: Run | None) -> bool:
    """Say whether it is known what is private: not of a call that came from another process; a proposer sees none."""
    return run is not None or call.role == Role.PROPOSER


def _word(value: Any) -> str | None:
    return None if value is None else str(value)
