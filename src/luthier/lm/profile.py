"""What to expect of a model: able ones write and follow long instructions, those below 3B parameters do not."""

from __future__ import annotations

import enum
import re

_SMALL_BELOW = 3.0
_SIZE = re.compile(r"(?<![a-z0-9.])e?(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")
"""A number of parameters in a name: ``0.5b``, ``360m``, ``e2b``; not ``a3b``, the active ones of a mixture."""
_MIXTURE = re.compile(r"(?<![a-z0-9.])(\d+)x(\d+(?:\.\d+)?)b(?![a-z0-9])")


class Profile(enum.StrEnum):
    """What a model is taken to be capable of."""

    ABLE = "able"
    SMALL = "small"


def profile_named(name: str, *, embedded: bool) -> Profile:
    """Return the profile of a model by its name: small below 3B parameters; without a number, if it is embedded.

    >>> profile_named("Qwen/Qwen2.5-0.5B-Instruct", embedded=False).value
    'small'
    >>> profile_named("qwen3-30b-a3b", embedded=True).value
    'able'
    """
    lower = re.sub(r"[_:/ ]", "-", name.lower())
    sizes = [float(number) / (1000 if unit == "m" else 1) for number, unit in _SIZE.findall(lower)]
    sizes += [float(experts) * float(size) for experts, size in _MIXTURE.findall(lower)]
    if sizes:
        return Profile.SMALL if max(sizes) < _SMALL_BELOW else Profile.ABLE
    return Profile.SMALL if embedded else Profile.ABLE
