"""A budget the user sets, and the ledger that keeps to it: amounts are reserved before, settled after.

The ledger knows names of amounts ("usd", "lm_calls", "tokens"), not what they buy.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from luthier.errors import BudgetExhausted, ConfigError

TOTAL = "total"
"""The key of the sum over all roles in ``Ledger.spent``."""

_TOLERANCE = 1e-9  # floating sums of prices must not refuse the last call that fits exactly


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may spend at most; a limit left at None is no limit.

    Raises:
        ConfigError: a limit is zero, negative, or not a finite number.
    """

    usd: float | None = None
    lm_calls: int | None = None
    tokens: int | None = None
    """Prompt and completion tokens together."""
    seconds: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"Budget({field.name}={value!r}) must be a number.")
            if not math.isfinite(value) or value <= 0:
                raise ConfigError(f"Budget({field.name}={value!r}) must be above zero; leave it out for no limit.")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that a ledger keeps: all but the seconds."""
        named = {"usd": self.usd, "lm_calls": self.lm_calls, "tokens": self.tokens}
        return {name: float(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Reservation:
    """Amounts held for one attempt until its bill is known."""

    number: int
    role: str
    base: Mapping[str, float]
    """What was asked for."""
    amounts: Mapping[str, float]
    """What is held: the base, raised by what earlier bills taught."""


@dataclass(slots=True, eq=False)
class _Waiter:
    base: Mapping[str, float]
    role: str
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Reservation]
    granted: Reservation | None = None


class Ledger:
    """Keeps named amounts within their limits: reserve the worst case, then settle with the bill.

    Requests are served in the order they came. One that does not fit beside the open reservations waits;
    one that does not fit with none open is refused. Every method may be called from any thread.

    Args:
        limits: the most of each amount; names left out are counted but not limited.
        spent: what earlier sessions spent, by role and name.
        deadline: returns the seconds that are left; at zero or below nothing more is reserved.
    """

    def __init__(
        self,
        limits: Mapping[str, float],
        spent: Mapping[str, Mapping[str, float]] | None = None,
        deadline: Callable[[], float] | None = None,
    ) -> None:
        self._lock = threading.Lock()  # protects everything below; never held while waiting
        self._limits = dict(limits)
        # A sum that is given back to us is not counted twice.
        self._spent = {role: dict(amounts) for role, amounts in (spent or {}).items() if role != TOTAL}
        self._open: dict[int, Reservation] = {}
        self._held: dict[str, float] = {}
        self._earmarks: dict[str, dict[str, float]] = {}
        self._factors: dict[str, float] = {}
        self._waiters: deque[_Waiter] = deque()
        self._number = 0
        self._deadline = deadline
        self.remark = ""
        """What whoever meets a limit should know besides; said with every refusal."""

    async def reserve(self, amounts: Mapping[str, float], role: str) -> Reservation:
        """Hold ``amounts`` for one attempt, waiting while they do not fit beside the open reservations.

        Raises:
            BudgetExhausted: they do not fit with nothing open, or the time is over.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiters:
                granted = self._decide(amounts, role)
                if granted is not None:
                    return granted
            waiter = _Waiter(dict(amounts), role, loop, loop.create_future())
            self._waiters.append(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def settle(self, reservation: Reservation, bill: Mapping[str, float] | None) -> None:
        """Close a reservation with what it really cost; without a bill it stays charged in full."""
        with self._lock:
            if not self._close(reservation):
                return
            charge = reservation.amounts if bill is None else bill
            _add(self._spent.setdefault(reservation.role, {}), charge)
            if bill is not None:
                self._learn(reservation, bill)
            self._serve_waiters()

    def charge(self, amounts: Mapping[str, float], role: str) -> None:
        """Note what was spent without having been reserved; it may carry an amount over its limit."""
        with self._lock:
            _add(self._spent.setdefault(role, {}), amounts)

    def set_aside(self, name: str, amounts: Mapping[str, float]) -> None:
        """Keep ``amounts`` from everybody until ``release(name)``; a second call replaces the first."""
        with self._lock:
            self._earmarks[name] = dict(amounts)
            self._serve_waiters()

    def release(self, name: str) -> None:
        """Give back what was set aside under ``name``; nothing happens where nothing was."""
        with self._lock:
            self._earmarks.pop(name, None)
            self._serve_waiters()

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each limited amount."""
        with self._lock:
            return dict(self._limits)

    @property
    def spent(self) -> dict[str, dict[str, float]]:
        """What was spent, by role, and under "total" by all of them; open reservations are not in it."""
        with self._lock:
            return {TOTAL: self._total(), **{role: dict(amounts) for role, amounts in self._spent.items()}}

    @property
    def remaining(self) -> dict[str, float]:
        """What could still be reserved of each limited amount, never below zero."""
        with self._lock:
            taken = self._taken()
            return {name: max(0.0, limit - taken.get(name, 0.0)) for name, limit in self._limits.items()}

    @property
    def overshoot(self) -> dict[str, float]:
        """By how much bills above their reservations carried each amount over its limit; empty when none did."""
        with self._lock:
            total = self._total()
            over = {name: total.get(name, 0.0) - limit for name, limit in self._limits.items()}
            return {name: amount for name, amount in over.items() if amount > _TOLERANCE * self._limits[name]}

    def _decide(self, base: Mapping[str, float], role: str) -> Reservation | None:
        """Grant a reservation, or return None where it must wait."""
        if self._deadline is not None and self._deadline() <= 0:
            raise BudgetExhausted("The time of the budget is over.")
        amounts = {name: value * self._factors.get(name, 1.0) for name, value in base.items()}
        misfit = self._misfit(amounts)
        if misfit is None:
            self._number += 1
            reservation = Reservation(self._number, role, dict(base), amounts)
            self._open[reservation.number] = reservation
            _add(self._held, amounts)
            return reservation
        if self._open:
            return None
        raise BudgetExhausted(self._refusal(misfit, amounts, role))

    def _misfit(self, amounts: Mapping[str, float]) -> str | None:
        """Name the first amount that does not fit."""
        taken = self._taken()
        for name, limit in self._limits.items():
            wanted = amounts.get(name, 0.0)
            if wanted > 0 and taken.get(name, 0.0) + wanted > limit * (1 + _TOLERANCE):
                return name
        return None

    def _refusal(self, name: str, amounts: Mapping[str, float], role: str) -> str:
        spent = self._total().get(name, 0.0)
        aside = sum(earmark.get(name, 0.0) for earmark in self._earmarks.values())
        return (
            f"The next {role or 'LM'} call may take {_plain(amounts[name])} {name}, which does not fit the budget: "
            f"{_plain(spent)} of {_plain(self._limits[name])} spent, {_plain(aside)} set aside."
            f"{self.remark and f' {self.remark}'}"
        )

    def _learn(self, reservation: Reservation, bill: Mapping[str, float]) -> None:
        # A bill above its worst case shows that the worst case is guessed too low for this server.
        for name, base in reservation.base.items():
            if base > 0 and bill.get(name, 0.0) > base:
                self._factors[name] = max(self._factors.get(name, 1.0), bill[name] / base)

    def _serve_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters[0]
            try:
                granted = self._decide(waiter.base, waiter.role)
            except BudgetExhausted as error:
                self._waiters.popleft()
                _deliver(waiter, error)
                continue
            if granted is None:
                return
            self._waiters.popleft()
            waiter.granted = granted
            _deliver(waiter, granted)

    def _close(self, reservation: Reservation) -> bool:
        if self._open.pop(reservation.number, None) is None:
            return False
        _add(self._held, {name: -value for name, value in reservation.amounts.items()})
        if not self._open:
            self._held.clear()  # so that rounding never adds up
        return True

    def _forget(self, waiter: _Waiter) -> None:
        """Undo a reservation that nobody waits for any more."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if waiter.granted is not None:
                self._close(waiter.granted)
            self._serve_waiters()

    def _total(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for amounts in self._spent.values():
            _add(total, amounts)
        return total

    def _taken(self) -> dict[str, float]:
        taken = self._total()
        _add(taken, self._held)
        for earmark in self._earmarks.values():
            _add(taken, earmark)
        return taken


def _add(total: dict[str, float], amounts: Mapping[str, float]) -> None:
    for name, value in amounts.items():
        total[name] = total.get(name, 0.0) + value


def _plain(value: float) -> str:
    return f"{value:,.6g}" if value != int(value) else f"{int(value):,}"


def _deliver(waiter: _Waiter, outcome: Reservation | BudgetExhausted) -> None:
    def finish() -> None:
        if waiter.future.done():
            return
        if isinstance(outcome, Reservation):
            waiter.future.set_result(outcome)
        else:
            waiter.future.set_exception(outcome)

    waiter.loop.call_soon_threadsafe(finish)
