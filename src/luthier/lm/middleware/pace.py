"""How fast calls may leave: at a given rate, or at one that is learned from a server's refusals."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress

_SLACK = 0.05  # seconds by which a busy loop may catch up; servers that count by the second must not see a burst

# What is learned. Measured by `benchmarks/rate.py` over servers of many kinds, latencies and windows.
_ONE_SIGN = 1.0  # seconds; one burst of refusals is one sign, not many
_LOOK_BACK, _LONGEST_LOOK_BACK = 3.0, 60.0  # seconds over which accepted calls are counted
_FORGET = 0.9  # of a window that was thought longer, at each sign
_ENOUGH = 20.0  # calls to count
_LOWEST_GUESS = 20.0  # calls a second; at the first sign too little may have been sent to tell
_PLATEAU = 0.98  # of the rate that was refused: there it stays longest, …
_SWING = 0.045  # … and this much below it begins
_QUICK_CLIMB, _CLIMB = 0.83, 2.7  # look-backs up to the plateau; the latter when two signs agree about the rate, …
_COST = 20.0  # … and then so many seconds more for every second that a sign costs
_LONGEST_CLIMB = 240.0
_AGREE = 1.2
_LONGEST_PATIENCE = 16.0  # seconds between attempts where all are refused and the server does not say for how long
_NEARLY_BACK, _FEW, _IN_VAIN = -0.2, 0.4, 5  # see `_note_sign`


class Pace:
    """A token bucket that refills evenly and holds next to nothing, so that no window of the server's sees a burst."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._level = 0.0
        self._filled_at = -math.inf

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` may be taken, zero or less for at once."""
        if self.rate == math.inf:
            return 0.0
        capacity = max(1.0, _SLACK * self.rate)
        filled = min(capacity, self._level + (now - self._filled_at) * self.rate)
        self._level, self._filled_at = max(self._level, filled), now  # what was given back may overflow
        return (min(amount, capacity) - self._level) / self.rate

    def take(self, amount: float) -> None:
        """Take ``amount``; what is larger than the bucket leaves a debt."""
        if self.rate != math.inf:
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used."""
        self._level += amount


class LearnedRate:
    """The calls a second that a server lets through, as its refusals show; no limit before the first.

    At a refusal it falls somewhat below what was just accepted, comes back, stays there for long and then looks
    further up, faster and faster: the curve of CUBIC TCP (RFC 9438), over rates instead of windows.

    Attributes:
        held_until: nothing may leave before.
    """

    def __init__(self) -> None:
        self.held_until = self._since = self._signed_at = -math.inf
        self._known = math.inf  # calls a second accepted when last refused
        self._floor = _LOWEST_GUESS
        self._climb = _QUICK_CLIMB
        self._window = self._look_back = _LOOK_BACK
        self._accepted: deque[float] = deque()  # when calls left that are not refused so far
        self._counted_from = math.inf
        self._patience = 0.0
        self._sent = self._refused = self._in_vain = 0  # the former two since the last sign

    def at(self, now: float) -> float:
        """Return the calls a second that may leave now."""
        return self._known * (_PLATEAU + _SWING * self._position(now) ** 3)

    def sent(self, now: float) -> None:
        """Count a call that leaves."""
        self._sent += 1
        self._accepted.append(now)
        self._counted_from = min(self._counted_from, now)
        while self._accepted[0] < now - self._look_back:
            self._accepted.popleft()

    def refused(self, sent: float, now: float, hold: float) -> bool:
        """Learn from the refusal of the call that left at ``sent``; nothing leaves for ``hold`` seconds.

        Return whether it is a sign; the other refusals of a burst only correct what is known to have been accepted.
        """
        self._refused += 1
        with suppress(ValueError):
            self._accepted.remove(sent)
        accepted = (len(self._accepted) - 1) / max(1.0, min(self._look_back, now - self._counted_from))
        is_sign = now - self._signed_at >= _ONE_SIGN and sent > self._signed_at
        if is_sign:
            blocked = math.isfinite(self._signed_at) and (not self._accepted or self._accepted[-1] <= self._signed_at)
            self._patience = min(_LONGEST_PATIENCE, max(_ONE_SIGN, 2 * self._patience)) if blocked else 0.0
            hold = max(hold, self._patience)
            self._widen(2 * self._look_back if blocked else hold, now)
            if not blocked:  # else it is a window's end, which tells nothing about the rate
                self._note_sign(accepted, now, hold)
            self._since, self._signed_at = now + hold, now
        if sent <= self._signed_at:
            self._known = max(self._floor, min(self._known, accepted))
        self.held_until = max(self.held_until, now + hold)
        return is_sign

    def _widen(self, window: float, now: float) -> None:
        """Look back over the server's window, as far as it can be told, and over enough calls to count."""
        self._counted_from = max(self._counted_from, now - self._look_back)
        self._window = max(_LOOK_BACK, window, _FORGET * self._window)
        self._look_back = min(_LONGEST_LOOK_BACK, max(self._window, _ENOUGH / self._known))

    def _note_sign(self, accepted: float, now: float, hold: float) -> None:
        """Take the rate of now, which ``accepted`` then lowers, as the one that was refused."""
        rate = self.at(now)
        agree = self._known / _AGREE < accepted < self._known * _AGREE
        climb = _CLIMB * self._look_back + _COST * hold if agree else _QUICK_CLIMB * self._look_back
        # A few refusals, again and again, at paces that had been safe: the server's reasons are others, so pay no heed.
        safe = math.isfinite(rate) and self._position(now) < _NEARLY_BACK and self._refused <= _FEW * self._sent
        self._in_vain = self._in_vain + 1 if safe else 0
        self._sent = self._refused = 0
        self._climb = min(climb, _LONGEST_CLIMB)
        if self._in_vain >= _IN_VAIN:
            self._known = self._floor = 2 * rate
        else:
            self._known, self._floor = rate, rate / 2 if math.isfinite(rate) else _LOWEST_GUESS

    def _position(self, now: float) -> float:
        """-1: just refused; 0: up to the plateau; above: beyond it."""
        return max(-1.0, (now - self._since) / self._climb - 1.0)
