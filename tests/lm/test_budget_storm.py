"""256 calls in flight, retries, joins, cancelled callers, attempts without a bill, resumes: no limit is exceeded.

What was really spent is counted by the servers, never by the ledger under test.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import pytest

from luthier.budget import Ledger
from luthier.errors import BudgetExhausted, CallTimeout, LMError, RateLimited, ServerFault
from luthier.lm.gateway import Gateway, worst_case
from luthier.lm.lm import LM, Price
from luthier.lm.request import Completion, Request, Usage
from luthier.lm.store import Store
from luthier.types import Role
from tests.lengths import in_rings
from tests.lm.scenes import QUICK, request, run

IN_FLIGHT, ABREAST = 256, 40
ROLES = (Role.TASK, Role.TEACHER, Role.PROPOSER, Role.JUDGE)
Spent = defaultdict[str, float]
PRICES = (Price(1.0, 4.0), Price(0.1, 0.4, 0.01), Price(20.0, 80.0))


class Server:
    """Bills within what was reserved, and works also where it then fails; ``true`` is what it really spent."""

    def __init__(
        self,
        rng: random.Random,
        price: Price,
        true: Spent,
        *,
        dear: float = 1.0,
        ill: float = 0.3,
        latency: float = 0.01,
    ) -> None:
        self.rng = rng
        self.price = price
        self.true = true
        self.dear = dear
        self.ill = ill
        self.latency = latency
        self.in_flight = self.most_in_flight = 0
        self.lm = LM(self.answer, max_tokens=40, price=price, max_in_flight=IN_FLIGHT)

    async def answer(self, asked: Request) -> Completion:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.rng.random() * self.latency)
            kind = self.rng.random() * 0.3 / self.ill
            self.true["lm_calls"] += 1
            if kind < 0.1:
                raise RateLimited("429")
            most = worst_case(self.lm, asked)["tokens"] * self.dear
            written = self.rng.randint(0, 40)
            read = max(0, int((most - 40) * self.rng.random()))
            self.true["tokens"] += read + written
            self.true["usd"] += self.price.usd(read, written)
            if kind < 0.2:
                raise self.rng.choice((ServerFault("500"), CallTimeout("late")))
            usage = Usage(read, written) if kind > 0.3 else None
            return Completion("x", usage=usage)
        finally:
            self.in_flight -= 1


async def storm(
    rng: random.Random,
    servers: list[Server],
    store: Store,
    limits: dict[str, float],
    *,
    abreast: int = 500,
    cancelled: int = 50,
) -> int:
    """Ask for far more than the limits allow, all at once or so many abreast; return how many were refused."""
    room = asyncio.Semaphore(abreast)
    ledger = Ledger(limits, store.spent("s"))
    gateway = Gateway(store=store, ledger=ledger, study="s", retry=QUICK)
    refused = 0

    async def call(n: int) -> None:
        nonlocal refused
        text = f"{rng.randrange(600)} {'y' * rng.randrange(80)}"  # some are equal, and joined
        try:
            async with room:
                await gateway.complete(rng.choice(servers).lm, request(text), rng.choice(ROLES))
        except BudgetExhausted:
            refused += 1
        except LMError:
            pass

    tasks = [asyncio.create_task(call(n)) for n in range(500)]
    for task in rng.sample(tasks, cancelled):
        asyncio.get_running_loop().call_later(rng.random() * 0.02, task.cancel)
    await asyncio.wait(tasks)
    gateway.close()
    return refused


@pytest.mark.parametrize("seed", in_rings(range(6), [0, 4]))
def test_no_limit_is_exceeded_whatever_happens(seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"storm/{seed}")
    true: Spent = defaultdict(float)
    servers = [Server(random.Random(f"{seed}/{i}"), price, true) for i, price in enumerate(PRICES)]
    scale = {"lm_calls": rng.randint(100, 900), "tokens": rng.randint(10_000, 120_000), "usd": rng.uniform(0.02, 0.6)}
    names = rng.sample(sorted(scale), rng.randint(1, 3))
    limits = {name: float(scale[name]) for name in names}
    refused = 0
    for session in range(3):
        store = Store(tmp_path / "store.sqlite")
        refused += run(storm(random.Random(f"{seed}/{session}"), servers, store, limits))
        store.close()
        for name, limit in limits.items():
            assert true[name] <= limit * (1 + 1e-6), f"session {session}: {name}"
    if len(limits) == 3:
        assert refused, "the limits bind"


def test_many_calls_are_in_flight_while_the_limits_hold(tmp_path: Path) -> None:
    true: Spent = defaultdict(float)
    # The latency is long beside what a busy machine takes to send 256 calls.
    server = Server(random.Random("wide"), PRICES[0], true, ill=0.001, latency=1.0)
    store = Store(tmp_path / "store.sqlite")
    run(storm(random.Random("wide"), [server], store, {"lm_calls": 400.0}))
    store.close()
    assert server.most_in_flight > IN_FLIGHT / 2
    assert true["lm_calls"] <= 400


@pytest.mark.parametrize("dear", in_rings([1.5, 4.0], [4.0]))
def test_a_server_that_bills_more_overshoots_by_no_more_than_its_calls_in_flight(dear: float, tmp_path: Path) -> None:
    """The bound of docs/concepts.md: what the calls in flight at the first such bill were billed above their due."""
    true: Spent = defaultdict(float)
    server = Server(random.Random("dear"), PRICES[0], true, dear=dear)
    limit = 60_000.0
    store = Store(tmp_path / "store.sqlite")
    # As many callers as may be in flight, none of whom leaves: a busy machine may be late with bills, not with callers.
    run(storm(random.Random("dear"), [server], store, {"tokens": limit}, abreast=ABREAST, cancelled=0))
    store.close()
    longest = worst_case(server.lm, request(f"600 {'y' * 80}"))["tokens"]
    assert true["tokens"] <= limit + ABREAST * (dear - 1) * longest
