"""A candidate as JSON: instructions, demonstrations with their provenance, fingerprints."""

from __future__ import annotations

import json

from luthier.exports.parts import Parts


def as_json(parts: Parts) -> str:
    """Return the candidate, as ``lt.Candidate.from_json`` reads it."""
    return json.dumps(parts.candidate.to_json(), ensure_ascii=False, indent=2) + "\n"
