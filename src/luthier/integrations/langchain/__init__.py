"""LangChain and LangGraph: chains and prompts whose texts are tuned; chains and graphs are called as they are.

``tunable(prompt | model | parser, "grade")`` and ``connect(ChatOpenAI(...))``; everything else stays.
"""

from luthier.errors import ConfigError

try:
    from luthier.integrations.langchain.chains import TunableChain, TunablePrompt, Unreadable, connect, lm_of, tunable
except ImportError as error:
    raise ConfigError(f"LangChain is not installed ({error}): pip install 'luthier[langgraph]'") from error

__all__ = ["TunableChain", "TunablePrompt", "Unreadable", "connect", "lm_of", "tunable"]
