"""What the folder of a suite's runs holds, and how it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DECLARED = "suite.json"
"""The suite as it was declared."""
RESULTS = "results"
"""A folder of one file a case."""
STUDIES = "studies"
"""A folder of one study a case."""


def write_whole(file: Path, data: Mapping[str, Any]) -> None:
    """Write a file of JSON that no reader ever meets half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f"{file.name}.part")
    half.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(half, file)
