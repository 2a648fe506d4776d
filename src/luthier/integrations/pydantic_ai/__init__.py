"""pydantic-ai agents as predictors: their tools, structured output, dependencies, and models stay what they are.

``agent = tunable(Agent(...), name="triage")``; the agent is called as before.
"""

from luthier.errors import ConfigError

try:
    from luthier.integrations.pydantic_ai.agents import AgentUnparseable, TunableAgent, tunable
except ImportError as error:
    raise ConfigError(
        f"pydantic-ai 2.0 or later, with openai, is not installed ({error}): pip install 'luthier[pydantic-ai]'"
    ) from error

__all__ = ["AgentUnparseable", "TunableAgent", "tunable"]
