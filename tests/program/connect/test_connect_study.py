"""Inside a study a connected client is the engine's: metered, stored, joined, retried, budgeted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import luthier as lt
from luthier.errors import BudgetExhausted, ConfigError, ProgramFailed, StudyPaused
from luthier.evaluation.rollout import Outcome
from luthier.lm.request import Usage
from luthier.lm.store import Store
from tests.lm.server import Fault, OpenAIServer
from tests.program.connect.desk import NEVER_ASKED, aprogram, evaluate, program, rows

FREE = lt.LM(lambda request: "never asked", price=lt.Price(0.0, 0.0))

Kind = tuple[Callable[..., Any], Callable[..., Any]]
BOTH: list[Any] = [
    pytest.param((openai.OpenAI, program), id="sync"),
    pytest.param((openai.AsyncOpenAI, aprogram), id="async"),
]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda body: "delivery") as served:
        yield served


def connected(kind: Kind, server: OpenAIServer, **settings: Any) -> Callable[..., Any]:
    client, make = kind
    desk: Callable[..., Any] = make(lt.connect(server.client(client, max_retries=0), **settings))
    return desk


@pytest.mark.parametrize("kind", BOTH)
class TestTheEngine:
    def test_meters_every_call_in_the_predictors_trace(self, kind: Kind, server: OpenAIServer) -> None:
        found = evaluate(connected(kind, server), 1)
        [call] = found.rollouts[0].trace.calls
        body = server.requests[0]
        read = -(-sum(len(message["content"]) for message in body["messages"]) // 4)
        assert call.usage == Usage(read, 2, 0, 1)
        assert (call.text, call.finish_reason, call.outputs) == ("delivery", "stop", {"queue": "delivery"})
        assert not call.unmetered
        assert found.usage == call.usage
        assert found.unmetered == {}

    def test_stores_answers_and_asks_for_none_twice(self, kind: Kind, server: OpenAIServer, tmp_path: Path) -> None:
        first = evaluate(connected(kind, server), store=tmp_path / "s.sqlite")
        again = evaluate(connected(kind, server), store=tmp_path / "s.sqlite")
        assert len(server.requests) == 3
        assert [rollout.prediction for rollout in again.rollouts] == ["delivery"] * 3
        assert again.usage == first.usage

    def test_the_store_holds_no_message(self, kind: Kind, server: OpenAIServer, tmp_path: Path) -> None:
        evaluate(connected(kind, server), store=tmp_path / "s.sqlite")
        held = b"".join(path.read_bytes() for path in tmp_path.glob("s.sqlite*"))
        assert b"delivery" in held
        assert b"parcel" not in held
        assert b"Name the queue" not in held

    def test_joins_identical_calls_in_flight(self, kind: Kind) -> None:
        with OpenAIServer(lambda body: "delivery", latency=0.2) as server:
            desk = connected(kind, server)
            found = lt.evaluate(desk, rows(1), lt.exact_match, lm=NEVER_ASKED, repeats=4)
            assert found.mean == 1.0
            assert len(server.requests) == 1

    def test_draws_anew_above_temperature_zero_and_shares_the_draws_of_a_repeat(
        self, kind: Kind, server: OpenAIServer, tmp_path: Path
    ) -> None:
        client, make = kind
        for _ in range(2):
            desk = make(lt.connect(server.client(client)), temperature=1)
            lt.evaluate(desk, rows(1), lt.exact_match, lm=NEVER_ASKED, repeats=3, store=tmp_path / "s.sqlite")
        assert len(server.requests) == 3

    def test_retries_faults_though_the_client_does_not(self, kind: Kind) -> None:
        faults = [Fault(500), Fault(429, headers={"retry-after": "0"}), Fault(drop=True), Fault(cut=True), Fault(503)]
        with OpenAIServer(lambda body: "delivery", faults=faults) as server:
            found = evaluate(connected(kind, server), 1)
            assert (found.mean, found.unscored) == (1.0, 0)
            assert len(server.requests) == 6

    def test_keeps_the_clients_timeout_and_retries_what_took_longer(self, kind: Kind) -> None:
        client, make = kind
        with OpenAIServer(lambda body: "delivery", faults=[Fault(hang=2.0)]) as server:
            desk = make(lt.connect(server.client(client, timeout=0.5)))
            assert evaluate(desk, 1).mean == 1.0
            assert len(server.requests) == 2

    def test_caps_the_calls(self, kind: Kind, server: OpenAIServer) -> None:
        with pytest.raises(BudgetExhausted, match="lm_calls"):
            evaluate(connected(kind, server), 9, budget=lt.Budget(lm_calls=4), concurrency=2)
        assert len(server.requests) == 4

    def test_caps_the_dollars_at_the_price_given(self, kind: Kind, server: OpenAIServer) -> None:
        price = {"m": lt.Price(1000.0, 1000.0)}  # a call is some 3 cents, at most about 1.4 dollars
        with pytest.raises(BudgetExhausted, match="usd"):
            evaluate(connected(kind, server, price=price), 200, budget=lt.Budget(usd=2.0), concurrency=2, lm=FREE)
        assert 0 < len(server.requests) < 200

    def test_refuses_dollars_without_a_price_before_the_call_where_it_is_not_loopback(self, kind: Kind) -> None:
        client, make = kind
        desk = make(lt.connect(client(base_url="https://lm.invalid/v1", api_key="k")))
        with pytest.raises(ConfigError, match="needs a price for m"):
            evaluate(desk, 1, budget=lt.Budget(usd=1.0), lm=FREE)

    def test_a_denied_key_pauses(self, kind: Kind) -> None:
        with OpenAIServer(lambda body: "delivery", key="another") as server, pytest.raises(StudyPaused, match="key"):
            evaluate(connected(kind, server), 5)

    def test_a_quota_that_is_used_up_pauses(self, kind: Kind) -> None:
        gone = Fault(429, {"error": {"code": "insufficient_quota", "message": "insufficient_quota"}})
        with OpenAIServer(lambda body: "delivery", faults=[gone] * 9) as server, pytest.raises(StudyPaused):
            evaluate(connected(kind, server), 5)

    def test_an_outage_is_never_a_score_even_if_the_program_swallows_it(self, kind: Kind) -> None:
        with OpenAIServer(lambda body: "delivery", key="another") as server:
            desk = connected(kind, server)

            def sturdy(ticket: str) -> str:
                try:
                    return str(desk(ticket))
                except Exception:  # noqa: BLE001 - what the test is about
                    return "delivery"

            async def asturdy(ticket: str) -> str:
                try:
                    return str(await desk(ticket))
                except Exception:  # noqa: BLE001 - what the test is about
                    return "delivery"

            with pytest.raises(StudyPaused):
                evaluate(asturdy if asyncio.iscoroutinefunction(desk) else sturdy, 1)

    def test_what_the_server_rejects_is_the_programs_to_handle(self, kind: Kind) -> None:
        bad = Fault(404, {"error": {"message": "no model m", "code": "model_not_found"}})
        with (
            OpenAIServer(lambda body: "delivery", faults=[bad] * 9) as server,
            pytest.raises(ProgramFailed, match=r"NotFoundError[\s\S]*no model m"),
        ):
            evaluate(connected(kind, server), 1)

    def test_a_prompt_that_the_server_refuses_is_a_bad_answer_and_not_an_error(
        self, kind: Kind, tmp_path: Path
    ) -> None:
        long = Fault(400, {"error": {"message": "too long", "code": "context_length_exceeded"}})
        with OpenAIServer(lambda body: "delivery", faults=[long]) as server:
            for _ in range(2):  # the second time from the store
                found = evaluate(connected(kind, server), 2, concurrency=1, store=tmp_path / "s.sqlite")
                assert found.count(Outcome.UNPARSEABLE) == 1
                assert found.badly == {"queue": {"cut off by the length limit": 1, "refused": 1}}
            assert len(server.requests) == 2

    def test_outside_a_study_its_own_retries_stay(self, kind: Kind) -> None:
        client, make = kind
        with OpenAIServer(lambda body: "delivery", faults=[Fault(500)]) as server:
            own = server.client(client, max_retries=1)
            bound = lt.bind(make(lt.connect(own)), lm=NEVER_ASKED)

            async def main() -> str:
                async with own:
                    return str(await bound("Where?"))

            assert (asyncio.run(main()) if hasattr(own, "__aenter__") else bound("Where?")) == "delivery"
            assert len(server.requests) == 2


class TestTheProgram:
    def test_a_sync_client_on_a_loop_is_told_apart(self, server: OpenAIServer) -> None:
        client = lt.connect(server.client())

        @lt.predictor
        async def queue(ticket: str) -> str:
            """Name the queue."""
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": ticket}])
            return str(reply.choices[0].message.content)

        async def desk(ticket: str) -> str:
            return await queue(ticket=ticket)

        with pytest.raises(ConfigError, match="AsyncOpenAI"):
            evaluate(desk, 1)

    def test_calls_outside_of_predictors_are_paid_and_counted_too(self, server: OpenAIServer) -> None:
        client = lt.connect(server.client())
        desk = program(client)

        def checked(ticket: str) -> str:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "safe?"}])
            return desk(ticket)

        found = evaluate(checked, 1)
        assert found.usage.calls == 2
        assert found.rollouts[0].trace.outside["m at " + server.url].calls == 1

    def test_several_calls_of_one_body_are_one_predictors(self, server: OpenAIServer) -> None:
        client = lt.connect(server.client())

        @lt.predictor
        def queue(ticket: str) -> str:
            """Name the queue."""
            for word in ("think", "answer"):
                reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": word}])
            return str(reply.choices[0].message.content)

        found = evaluate(lambda ticket: queue(ticket=ticket), 1)
        assert found.usage.calls == 2
        assert [call.usage.calls for call in found.rollouts[0].trace.calls if call.usage] == [2]

    def test_a_judge_with_a_connected_client_is_charged_as_a_judge(self, server: OpenAIServer, tmp_path: Path) -> None:
        client = lt.connect(server.client())

        def metric(example: Any, prediction: str) -> bool:
            reply = client.chat.completions.create(model="judge", messages=[{"role": "user", "content": prediction}])
            return bool(reply.choices[0].message.content == "delivery")

        store = Store(tmp_path / "s.sqlite")
        found = lt.evaluate(
            program(client), rows(3), metric, lm=NEVER_ASKED, store=store, budget=lt.Budget(lm_calls=50)
        )
        assert found.mean == 1.0
        assert {role: amounts["lm_calls"] for role, amounts in store.spent("").items()} == {"task": 3.0, "judge": 1.0}
        store.close()

    def test_a_program_that_raises_has_still_paid(self, server: OpenAIServer) -> None:
        client = lt.connect(server.client())
        desk = program(client)

        @lt.predictor
        def number(ticket: str) -> str:
            """Say the number."""
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": ticket}])
            if re.search("parcel [1-9]", ticket):
                int(str(reply.choices[0].message.content))
            return "delivery"

        found = evaluate(lambda ticket: number(ticket=ticket) and desk(ticket), 3, concurrency=1)
        assert found.count(Outcome.ERROR) == 2
        assert [rollout.usage.calls for rollout in found.rollouts] == [2, 1, 1]

    @pytest.mark.parametrize("kind", [openai.DefaultAsyncHttpxClient, openai.DefaultAsyncHttpxClient.__mro__[1]])
    def test_a_users_own_http_client_sends_on_the_users_loop(self, server: OpenAIServer, kind: Any) -> None:
        loops = []

        async def hook(request: Any) -> None:
            loops.append(asyncio.get_running_loop())

        async def main() -> float:
            http = kind(event_hooks={"request": [hook]})
            async with openai.AsyncOpenAI(base_url=server.url, api_key="k", http_client=http) as client:
                desk = aprogram(lt.connect(client))
                found = await lt.aevaluate(desk, rows(3), lt.exact_match, lm=NEVER_ASKED)
            assert loops == [asyncio.get_running_loop()] * 3
            return found.mean

        assert asyncio.run(main()) == 1.0


def test_what_is_no_openai_client_is_told() -> None:
    with pytest.raises(ConfigError, match=r"not a client of the openai package.*used\("):
        lt.connect(object())


def test_a_setting_out_of_range_is_told() -> None:
    with pytest.raises(ConfigError, match="rpm"):
        lt.connect(openai.OpenAI(api_key="k"), rpm=0)
