"""Spans of studies and services, received by a collector on loopback over real OTLP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Any

import pytest

import luthier as lt
from luthier.errors import ConfigError, RequestRejected
from luthier.integrations import otel
from luthier.lm.gateway import Gateway
from luthier.lm.request import Message, Request
from luthier.types import Role
from tests.cli.project import OPTIMIZE, luthier, project
from tests.integrations.collector import Collector, Received
from tests.lm.server import OpenAIServer
from tests.repository.desk import answer, tickets

SECRET = "Rumpelstiltskin Ångström"
KEY = "sk-verysecretkey1234567890"


@lt.predictor
def route(ticket: str) -> str:
    """Reply with the queue that a ticket belongs to."""
    return lt.predict()


def desk(ticket: str) -> str:
    return route(ticket=ticket)


@lt.predictor
def greet(name: Annotated[str, lt.Private], topic: str) -> str:
    """Greet a customer."""
    return lt.predict()


@lt.predictor
def shorten(text: str) -> str:
    """Make it short."""
    return lt.predict()


def letter(name: str, topic: str) -> str:
    return shorten(text=greet(name=name, topic=topic))


def letter_lm(request: lt.Request) -> str:
    asked = request.messages[-1].text
    return f"Dear {SECRET}" if "topic" in asked else asked


def study(url: str, directory: Path, **settings: Any) -> lt.Result[Any]:
    return lt.optimize(
        desk,
        tickets(80),
        lt.exact_match("queue"),
        lm=lt.LM("the-model", base_url=url, api_key=KEY),
        optimizer=lt.MIPRO(candidates=3, trials=4, minibatch=6, closing=1),
        study_dir=directory,
        **settings,
    )


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Collector:
    with OpenAIServer(answer) as server, Collector() as collector, otel.tracing(endpoint=collector.endpoint):
        study(server.url, tmp_path_factory.mktemp("otel") / "tickets")
    return collector


def test_a_study_holds_trials_that_hold_rollouts_that_hold_calls(traced: Collector) -> None:
    (whole,) = traced.named("study")
    assert (whole.name, whole.parent, whole.failed) == ("study tickets", "", False)
    assert {span.trace for span in traced.spans} == {whole.trace}
    trials = traced.named("trial ")
    assert sorted(span.attributes["luthier.trial"] for span in trials) == [1, 2, 3, 4, 5]
    calls = [call for call in traced.named("chat ") if "trial" in _kinds(traced, call)]
    assert calls
    for call in calls:
        assert _kinds(traced, call) in (["rollout", "trial", "study"], ["rollout", "trial", "step", "study"])


def test_a_rollout_belongs_to_the_trial_it_was_made_for(traced: Collector) -> None:
    rollouts = [span for span in traced.named("rollout") if "luthier.trial" in span.attributes]
    assert rollouts
    for rollout in rollouts:
        assert traced.above(rollout)[0].name == f"trial {rollout.attributes['luthier.trial']}"
        assert rollout.attributes["luthier.score"] in (0.0, 1.0)
        assert rollout.attributes["luthier.outcome"] == "scored"
    for trial in traced.named("trial "):
        scores = [span.attributes["luthier.score"] for span in rollouts if span.parent == trial.id]
        assert trial.attributes["luthier.score"] == pytest.approx(sum(scores) / len(scores))


def test_a_call_says_what_the_conventions_ask_for(traced: Collector) -> None:
    call = next(span for span in traced.named("chat ") if span.attributes["luthier.role"] == "task")
    said = call.attributes
    assert (call.name, call.kind) == ("chat the-model", 3)  # a client's span
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "openai"
    assert said["gen_ai.request.model"] == "the-model"
    assert said["gen_ai.request.temperature"] == 0.0
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert said["gen_ai.usage.input_tokens"] > 0
    assert said["gen_ai.usage.output_tokens"] > 0
    assert (said["server.address"], type(said["server.port"])) == ("127.0.0.1", int)
    assert (said["luthier.study"], said["luthier.predictor"]) == ("tickets", "route")
    assert call.service["service.name"] == "luthier"


def test_steps_and_roles_are_told_apart(traced: Collector) -> None:
    steps = {span.attributes["luthier.step"] for span in traced.named("step ")}
    assert {"baseline", "bootstrap", "proposals", "verdict"} <= steps
    proposer = [span for span in traced.named("chat ") if span.attributes["luthier.role"] == "proposer"]
    assert proposer
    assert all("luthier.predictor" not in span.attributes for span in proposer)
    assert {span.attributes["luthier.answered_by"] for span in traced.named("chat ")} >= {"lm", "store"}


def test_no_text_leaves_unless_it_is_asked_for(traced: Collector) -> None:
    sent = b"".join(traced.bodies)
    assert b"charged twice" not in sent
    assert b"Reply with the queue" not in sent
    assert b"messages" not in sent
    assert KEY.encode() not in sent


def test_text_leaves_without_keys_and_private_fields_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = [{"name": SECRET, "topic": f"order {n}, {KEY}", "label": "x"} for n in range(4)]
    with Collector() as collector, otel.tracing(endpoint=collector.endpoint, content=True):
        lt.evaluate(letter, rows, lt.exact_match("label"), lm=lt.LM(letter_lm))
    sent = b"".join(collector.bodies).decode(errors="replace")
    assert "order 2" in sent
    assert "Greet a customer." in sent
    assert KEY not in sent
    assert SECRET not in sent
    assert "Ångström" not in sent
    # What a predictor made of a private field is hidden in the next predictor's prompt, too.
    shortened = next(span for span in collector.named("chat ") if span.attributes["luthier.predictor"] == "shorten")
    messages = json.loads(shortened.attributes["gen_ai.input.messages"])
    assert "Dear [private]" in messages[-1]["parts"][0]["content"]
    answered = json.loads(shortened.attributes["gen_ai.output.messages"])
    assert answered[0]["finish_reason"] == "stop"
    assert "Dear [private]" in answered[0]["parts"][0]["content"]


def test_a_service_has_its_calls_in_its_own_spans() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    program = lt.bind(letter, lm=lt.LM(letter_lm))
    with Collector() as collector:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector.endpoint)))
        with otel.tracing(provider, content=True):
            tracer = trace.get_tracer("luthier", tracer_provider=provider)
            with tracer.start_as_current_span("GET /letter"):
                program(name=SECRET, topic="the weather")
        program(name=SECRET, topic="nobody watches any more")
        provider.shutdown()
    assert sorted(span.attributes["luthier.predictor"] for span in collector.named("chat ")) == ["greet", "shorten"]
    assert all(_kinds(collector, span) == ["GET"] for span in collector.named("chat "))
    sent = b"".join(collector.bodies).decode(errors="replace")
    assert "the weather" in sent
    assert SECRET not in sent
    assert "luthier.study" not in sent


def test_a_connected_clients_own_calls_are_told_in_the_same_way() -> None:

    with OpenAIServer(lambda body: f"Dear {SECRET}") as server, Collector() as collector:
        client = lt.connect(server.client(api_key=KEY))

        @lt.predictor
        def write(name: Annotated[str, lt.Private], topic: str) -> str:
            """Write to a customer."""
            messages: Any = lt.prompt().messages()
            asked = client.chat.completions.create(model="gpt-own", messages=messages, temperature=0.3, max_tokens=7)
            return asked.choices[0].message.content or ""

        def program(name: str, topic: str) -> str:
            return write(name=name, topic=topic)

        rows = [{"name": SECRET, "topic": "the weather", "label": "x"}]
        with otel.tracing(endpoint=collector.endpoint, content=True):
            lt.evaluate(program, rows, lt.exact_match("label"), lm=lt.LM("unused", base_url=server.url))
    (call,) = collector.named("chat ")
    said = call.attributes
    assert (call.name, said["luthier.predictor"], said["luthier.answered_by"]) == ("chat gpt-own", "write", "lm")
    assert (said["gen_ai.request.temperature"], said["gen_ai.request.max_tokens"]) == (0.3, 7)
    messages = json.loads(said["gen_ai.input.messages"])
    assert [message["role"] for message in messages] == ["system", "user"]
    assert "the weather" in messages[1]["parts"][0]["content"]
    sent = b"".join(collector.bodies).decode(errors="replace")
    assert "Dear [private]" in sent
    assert SECRET not in sent
    assert KEY not in sent


def test_no_text_is_told_of_a_call_that_nobody_says_what_is_private_in() -> None:
    async def ask(gateway: Gateway) -> None:
        await gateway.complete(lt.LM(letter_lm), Request(messages=(Message("user", f"topic: {SECRET}"),)), Role.TASK)

    gateway = Gateway()
    with Collector() as collector, otel.tracing(endpoint=collector.endpoint, content=True):
        asyncio.run(ask(gateway))
    gateway.close()
    (call,) = collector.named("chat ")
    assert not [name for name in call.attributes if name.endswith("messages")]
    assert SECRET.encode() not in b"".join(collector.bodies)


def test_a_failed_call_is_marked_without_its_message() -> None:
    def failing(request: lt.Request) -> str:
        raise RequestRejected(f"what {SECRET} wrote was rejected")

    program = lt.bind(letter, lm=lt.LM(failing))
    with Collector() as collector, otel.tracing(endpoint=collector.endpoint), pytest.raises(RequestRejected):
        program(name=SECRET, topic="the weather")
    (call,) = collector.named("chat ")
    assert call.failed
    assert call.attributes["error.type"] == "RequestRejected"
    assert SECRET.encode() not in b"".join(collector.bodies)


@pytest.mark.parametrize("status", [400, None])
def test_a_broken_collector_does_not_break_a_study(
    tmp_path: Path, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # what the exporter takes for sending what is left
    with OpenAIServer(answer) as server, Collector(status=status or 200) as collector:
        endpoint = collector.endpoint if status else "http://127.0.0.1:9/v1/traces"
        began = time.monotonic()
        with otel.tracing(endpoint=endpoint):
            result = study(server.url, tmp_path / "study")
        assert time.monotonic() - began < 20
    assert result.decision in ("adopt", "keep", "undecided")
    assert not collector.spans


def test_a_broken_span_processor_does_not_break_a_study(tmp_path: Path) -> None:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    class Broken(SpanProcessor):
        def on_start(self, *arguments: Any, **named: Any) -> None:
            raise RuntimeError("no disk")

        def on_end(self, *arguments: Any, **named: Any) -> None:
            raise RuntimeError("no disk")

    provider = TracerProvider()
    provider.add_span_processor(Broken())
    with OpenAIServer(answer) as server, otel.tracing(provider):
        assert study(server.url, tmp_path / "study").events[-1]["event"] == "done"


def test_a_provider_and_an_endpoint_exclude_each_other() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with pytest.raises(ConfigError, match="not both"), otel.tracing(TracerProvider(), endpoint="http://127.0.0.1:9"):
        raise AssertionError("must not begin")


def test_the_command_line_traces_a_study(tmp_path: Path) -> None:
    at = project(tmp_path)
    with Collector() as collector:
        run = luthier(at, *OPTIMIZE, "--yes", "--study-dir", "study", "--track", f"otel:{collector.endpoint}")
    assert run.returncode == 0, run.stderr
    (whole,) = collector.named("study")
    assert whole.attributes["luthier.study"] == "study"
    tasks = [span.attributes for span in collector.named("chat ") if span.attributes["luthier.role"] == "task"]
    assert {attributes["luthier.predictor"] for attributes in tasks} == {"size", "species"}
    other = luthier(at, *OPTIMIZE, "--yes", "--track", "wandb")
    assert other.returncode == 2
    assert "--track wandb: must be mlflow" in other.stderr


def _kinds(collector: Collector, span: Received) -> list[str]:
    return [above.name.partition(" ")[0] for above in collector.above(span)]
