"""What a study keeps outside its journal, because interruptions change it: time taken, and faults met."""

from __future__ import annotations

from dataclasses import dataclass, field

from luthier.lm.gateway import Gateway
from luthier.lm.store import Store
from luthier.optimizers.reserve import Clock


@dataclass(slots=True)
class Session:
    """One session of a study; what it adds is saved at every event, so a kill gives nothing back."""

    store: Store
    study_id: str
    seconds: float | None
    """The limit on a study's time, over all sessions."""
    clock: Clock = field(init=False)
    gateway: Gateway | None = None
    faults_before: dict[str, int] = field(init=False)
    """Faults that earlier sessions met, by kind."""

    def __post_init__(self) -> None:
        before = self.store.value(f"elapsed/{self.study_id}")
        self.clock = Clock(self.seconds, before=float(before or 0.0))
        self.faults_before = dict(self.store.value(f"faults/{self.study_id}") or {})

    def save(self) -> None:
        """Write down the time and the faults so far."""
        self.store.set_value(f"elapsed/{self.study_id}", self.clock.elapsed)
        now = {} if self.gateway is None else self.gateway.faults
        if now:
            kinds = sorted({*self.faults_before, *now})
            total = {kind: self.faults_before.get(kind, 0) + now.get(kind, 0) for kind in kinds}
            self.store.set_value(f"faults/{self.study_id}", total)
