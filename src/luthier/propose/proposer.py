"""The LM that writes: summaries for grounding, and instructions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from luthier.lm.refusals import without_temperature
from luthier.lm.request import Completion, Message, Request
from luthier.types import Endpoint, Role

if TYPE_CHECKING:
    from luthier.lm.gateway import Gateway
    from luthier.lm.lm import LM

T = TypeVar("T")


class Proposer:
    """Asks the proposer LM through a gateway, always by chat: a local model gets its chat template.

    Args:
        gateway: where requests leave.
        lm: who is asked.
        temperature: of its answers (0.7 in the paper, §5.2).
    """

    def __init__(self, gateway: Gateway, lm: LM, *, temperature: float = 0.7) -> None:
        self.gateway = gateway
        self.lm = lm
        self.temperature = temperature

    async def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        max_tokens: int,
        sample: int = 0,
        temperature: float | None = None,
    ) -> Completion:
        """Return the proposer's completion.

        Args:
            prompt: a user's turn, or messages.
            max_tokens: the longest answer, without a reasoning model's thoughts.
            sample: tells draws of one prompt apart.
            temperature: instead of the proposer's own.

        Raises:
            LMError: it could not answer.
            BudgetExhausted: the call does not fit the budget.
        """
        heat = self.temperature if temperature is None else temperature
        request = Request(
            endpoint=Endpoint.CHAT,
            messages=(Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt),
            temperature=heat,
            top_p=self.lm.top_p,
            max_tokens=self.lm.room_for(max_tokens),
            extra=self.lm.extra,
            # At temperature 0 there is one answer, however often it is drawn.
            sample=sample if heat > 0 else 0,
            draw=lambda: sample,
            affinity="proposer",
        )
        if self.lm.temperature is None:
            request = without_temperature(request)
        return await self.gateway.complete(self.lm, request, Role.PROPOSER)

    async def ask(self, prompt: str | Sequence[Message], *, max_tokens: int, sample: int = 0) -> str:
        """Return the text of the proposer's completion; raises what ``complete`` raises."""
        return (await self.complete(prompt, max_tokens=max_tokens, sample=sample)).text


async def side_by_side(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently; return results in their order, or raise the first error as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        # One failure cancels the rest; a group of one says no more than its member.
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
