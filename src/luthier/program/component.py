"""Components: what a candidate has a value for, each with a name, a kind, an original, and a fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from luthier.errors import CandidateError
from luthier.program.prompt import Kind, Prompt

if TYPE_CHECKING:
    from luthier.program.candidate import Candidate


class Component(Protocol):
    """A predictor, or a text: what is tuned."""

    @property
    def name(self) -> str:
        """By which candidates name its value."""
        ...

    @property
    def kind(self) -> Kind:
        """What its value consists of."""
        ...

    @property
    def original(self) -> Prompt:
        """Its value before any tuning."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies what a value is made for: a line, `` # ``, and a hash."""
        ...


def value_in(candidate: Candidate | None, component: Component) -> Prompt:
    """Return a component's value in a candidate; the original where there is none.

    Raises:
        CandidateError: the value was made for something else.
    """
    if candidate is None or component.name not in candidate.prompts:
        return component.original
    check_fit(candidate, component)
    return candidate.prompts[component.name]


def check_fit(candidate: Candidate, component: Component) -> None:
    """Refuse a candidate whose value for a component was made for something else.

    Raises:
        CandidateError: it was; the message shows both.
    """
    made_for = candidate.fingerprints.get(component.name)
    if made_for is None or made_for == component.fingerprint:
        return
    what = f"prompt of predictor {component.name!r}" if component.kind.takes_demos else f"text {component.name!r}"
    before, after = made_for.rsplit(" # ", 1)[0], component.fingerprint.rsplit(" # ", 1)[0]
    if before == after:
        raise CandidateError(f"the {what} was made for other field descriptions of `{after}`")
    raise CandidateError(f"the {what} was made for `{before}`, the program has `{after}`")
