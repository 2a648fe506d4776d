"""A candidate: a prompt for every predictor and a text for every region and tool, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.canonical import content_hash
from luthier.program.prompt import Demo, DemoSource, Kind, Prompt, Provenance
from luthier.types import Shown

__all__ = ["Candidate", "Demo", "DemoSource", "Kind", "Prompt", "Provenance"]


@dataclass(frozen=True, slots=True)
class Candidate(Shown):
    """A value for every component, by the component's name."""

    prompts: Mapping[str, Prompt]
    """Predictors' prompts, and texts of regions and tools; each says of which kind it is."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """By component: the fingerprint of what the value was made for, a predictor's signature for one."""

    @property
    def key(self) -> str:
        """Content hash over instructions and demos; provenance does not count."""
        return content_hash(
            {
                name: [prompt.instruction, [[dict(d.inputs), dict(d.outputs), d.reasoning] for d in prompt.demos]]
                for name, prompt in self.prompts.items()
            }
        )

    def with_prompt(self, predictor: str, prompt: Prompt) -> Candidate:
        """Return a candidate with one predictor's prompt replaced."""
        return replace(self, prompts={**self.prompts, predictor: prompt})

    def with_instruction(self, predictor: str, instruction: str) -> Candidate:
        """Return a candidate with one predictor's instruction, or one text, replaced."""
        return self.with_prompt(predictor, replace(self.prompts[predictor], instruction=instruction))

    def with_demos(self, predictor: str, demos: Iterable[Demo]) -> Candidate:
        """Return a candidate with one predictor's demos replaced."""
        return self.with_prompt(predictor, replace(self.prompts[predictor], demos=tuple(demos)))

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON."""
        return {
            "prompts": {name: prompt.to_json() for name, prompt in self.prompts.items()},
            "fingerprints": dict(self.fingerprints),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Candidate:
        """Read a candidate back."""
        prompts = {name: Prompt.from_json(prompt) for name, prompt in data["prompts"].items()}
        return Candidate(prompts, dict(data.get("fingerprints", {})))

    def save(self, directory: Any) -> None:
        """Write one readable ``.md`` per component, its demos as ``.jsonl``, and ``candidate.json``."""
        from luthier.program.files import save_prompts

        save_prompts(self.prompts, self.fingerprints, directory)

    @staticmethod
    def load(directory: Any) -> Candidate:
        """Read what ``save`` wrote, edits to the ``.md`` and ``.jsonl`` files included.

        Raises:
            CandidateError: a file is missing or malformed; the message names it.
        """
        from luthier.program.files import load_prompts

        return Candidate(*load_prompts(directory))
