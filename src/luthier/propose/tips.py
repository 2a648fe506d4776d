"""The six tips; one is drawn for each proposal (MIPRO App. C)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TIPS: Mapping[str, str] = MappingProxyType(
    {
        "none": "",
        "creative": "Feel free to be creative when you write the new instruction.",
        "simple": "Keep the new instruction clear and concise.",
        "description": "Make the new instruction very informative and descriptive.",
        "high_stakes": "Let the new instruction put the model in a high-stakes situation that hangs on the answer.",
        "persona": "Let the new instruction give the model a persona that suits the task.",
    }
)
