"""What the folder of a suite's runs holds, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.program.files import write_whole

DECLARED = "suite.json"
"""The suite as it was declared."""
RESULTS = "results"
"""A folder of one file a case."""
STUDIES = "studies"
"""A folder of one study a case."""


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    """Write a file of JSON that no reader ever meets half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(data, indent=1, allow_nan=False) + "\n")
