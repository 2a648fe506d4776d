"""A Python file of LangChain prompts: one ``ChatPromptTemplate`` per predictor.

Braces in instructions and demonstrations are doubled, so LangChain takes them for what they are. How a value is
written (lists as numbered lines, texts of several lines indented) no template says, so the file brings luthier's own
code for it.
"""

from __future__ import annotations

from luthier._version import __version__
from luthier.exports.frame import before
from luthier.exports.lift import lift
from luthier.exports.literals import literal
from luthier.exports.parts import Part, Parts
from luthier.exports.python_form import identifier, texts

_HEAD = '''"""Tuned prompts as LangChain chat prompt templates; needs langchain-core.

Each is a ChatPromptTemplate: `NAME.format_messages(**inputs)`, `NAME.invoke(inputs)`, `NAME | model`.
PROMPTS has them by name.
"""

from __future__ import annotations

'''
_CLASS = '''class TunedPrompt(ChatPromptTemplate):
    """A chat prompt that writes its inputs as they were written when it was tuned."""

    def format_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """Return the messages for these inputs."""
        return super().format_messages(**placed(self._merge_partial_and_user_variables(**kwargs)))

    async def aformat_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """Return the messages for these inputs."""
        return await super().aformat_messages(**placed(self._merge_partial_and_user_variables(**kwargs)))
'''
_ROLES = {"system": "system", "user": "human", "assistant": "ai"}
_IMPORTS = "from langchain_core.messages import BaseMessage\nfrom langchain_core.prompts import ChatPromptTemplate\n"


def as_langchain(parts: Parts) -> str:
    """Return the file's text."""
    lifted = lift("luthier.exports.placed", "placed")
    taken = {
        *lifted.names,
        "PROMPTS",
        "TEXTS",
        "TunedPrompt",
        "BaseMessage",
        "ChatPromptTemplate",
        *lifted.imports.split(),
    }
    made = "".join(f"    {part.name!r}: TunedPrompt.from_messages({literal_turns(part)}),\n" for part in parts.parts)
    named = {part.name: identifier(part.name, taken) for part in parts.parts}
    names = "".join(f"{name} = PROMPTS[{key!r}]\n" for key, name in named.items() if name)
    return (
        f"{_HEAD}{lifted.imports}\n{_IMPORTS}\n"
        f"# luthier {__version__}, from {parts.origin!a}, candidate {parts.candidate.key}.\n\n\n"
        f"{lifted.code}\n\n{_CLASS}\n\nPROMPTS = {{\n{made}}}\n{names}\n{texts(parts)}".rstrip("\n")
        + "\n"
    )


def literal_turns(part: Part) -> str:
    """Return a prompt's turns as pairs of role and template."""
    turns = [[_ROLES[turn["role"]], _escaped(turn["content"])] for turn in before(part)]
    last = "\n".join(f"{field.name}:{{{field.name}}}" for field in part.signature.inputs)
    lines = [f"        ({role!r}, {literal(text, 8)}),\n" for role, text in [*turns, ["human", last]]]
    return "[\n" + "".join(lines) + "    ]"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
