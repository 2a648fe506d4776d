"""A world's program as Python source: for luthier, and as a DSPy module. Standard library only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Literal

from benchmarks.worlds.world import Stage, World

_PREDICTOR = '''

@lt.predictor
def {name}({takes}) -> str:
    """{instruction}"""
    return lt.predict()
'''
_SIGNATURE = '''

class {title}(dspy.Signature):
    """{instruction}"""

    {takes}
    {name}: str = dspy.OutputField()
'''
_MODULE = """

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
{made}

    def forward(self, {takes}):
{body}
"""


def load(world: World, tool: Literal["luthier", "dspy"], folder: Path) -> ModuleType:
    """Write the program into a folder, where its source can be read, and import it."""
    name = f"world_{tool}_{world.name.replace('-', '_')}_{world.seed}"
    path = folder / f"{name}.py"
    path.write_text(luthier_source(world) if tool == "luthier" else dspy_source(world))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def luthier_source(world: World) -> str:
    """Return the program as functions."""
    predictors = [
        _PREDICTOR.format(
            name=stage.name,
            takes=", ".join(f"{name}: str" for name in inputs(world, stage)),
            instruction=stage.instruction,
        )
        for stage in world.stages
    ]
    lines = [*_body(world, lambda stage: stage.name), f"return {{{_returned(world, ': ')}}}"]
    body = "\n".join(f"    {line}" for line in lines)
    program = f"\n\ndef program({_parameters(world)}):\n{body}\n"
    return f"import luthier as lt\n{_code_word(world)}{''.join(predictors)}{program}"


def dspy_source(world: World) -> str:
    """Return the program as a DSPy module."""
    signatures = [
        _SIGNATURE.format(
            name=stage.name,
            title=stage.name.title(),
            takes="\n    ".join(f"{name}: str = dspy.InputField()" for name in inputs(world, stage)),
            instruction=stage.instruction,
        )
        for stage in world.stages
    ]
    made = "\n".join(f"        self.{stage.name} = dspy.Predict({stage.name.title()})" for stage in world.stages)
    lines = _body(world, lambda stage: f"self.{stage.name}", ".{}")
    lines.append(f"return dspy.Prediction({_returned(world, '=', quote=False)})")
    body = "\n".join(f"        {line}" for line in lines)
    module = _MODULE.format(made=made, takes=_parameters(world), body=body)
    return f"import dspy\n{_code_word(world)}{''.join(signatures)}{module}"


def inputs(world: World, stage: Stage) -> list[str]:
    """Return a stage's inputs: its note, and what the stage before said."""
    return [stage.note, world.stages[stage.index - 1].name] if stage.index else [stage.note]


def _code_word(world: World) -> str:
    return "from benchmarks.worlds.world import code_word\n" if world.kind.blind else ""


def _parameters(world: World) -> str:
    looped = world.kind.loop > 1
    return ", ".join(f"{s.note}: {'list[str]' if looped and not s.index else 'str'}" for s in world.stages)


def _body(world: World, called: Callable[[Stage], str], attribute: str = "") -> list[str]:
    """Return the lines that call the stages.

    Args:
        world: the world.
        called: the source of what is called for a stage.
        attribute: what follows a call to get its text, with the stage's name in braces.
    """
    lines = []
    for stage in world.stages:
        end = attribute.format(stage.name)
        given = f"{stage.note}={stage.note}"
        if stage.index:
            given += f", {world.stages[stage.index - 1].name}=said_{stage.index}"
        if stage.index == 0 and world.kind.loop > 1:
            lines.append(f"each = [{called(stage)}({stage.note}=note){end} for note in {stage.note}]")
            lines.append('said_1 = ", ".join(each)')
        else:
            lines.append(f"said_{stage.index + 1} = {called(stage)}({given}){end}")
    return lines


def _returned(world: World, link: str, *, quote: bool = True) -> str:
    def name(text: str) -> str:
        return f'"{text}"' if quote else text

    if world.kind.blind:
        return f"{name('code')}{link}code_word({', '.join(f'said_{s.index + 1}' for s in world.stages)})"
    looped = world.kind.loop > 1
    return ", ".join(
        f"{name(s.name)}{link}{'each' if looped and not s.index else f'said_{s.index + 1}'}" for s in world.stages
    )
