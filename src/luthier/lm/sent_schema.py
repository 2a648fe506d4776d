"""A JSON schema as servers take it: under OpenAI's rules for strict structured outputs, or else not strictly.

Every node has a type, every object names all its properties, requires them, and allows no others; there are no tuples
and no open objects. https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_KEPT = (
    *("description", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems"),
)
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_DEEPEST = 10
_MOST_PROPERTIES = 5000
_MOST_CHOICES = 1000


@dataclass(frozen=True, slots=True)
class SentSchema:
    """What a server is sent."""

    schema: dict[str, Any]
    strict: bool


def sent_schema(schema: Mapping[str, Any]) -> SentSchema | None:
    """Return what a server is sent of a schema: strictly where the rules allow it; else as it can be said without them.

    None: it has objects that are open, or a part that may be anything. Servers refuse those, even not strictly, so
    nothing is sent, and the prompt alone says what is wanted. What strict servers do not know (lengths of texts,
    unusual formats) is left out: answers are checked anyway.
    """
    for strict in (True, False):
        rules = _Rules(strict)
        try:
            made = rules.node(schema, 1)
            if definitions := {name: rules.node(kept, 1) for name, kept in schema.get("$defs", {}).items()}:
                made["$defs"] = definitions
        except _Loose:
            continue
        if rules.properties <= _MOST_PROPERTIES and rules.choices <= _MOST_CHOICES:
            return SentSchema(made, strict)
    return None


class _Loose(Exception):
    """A part of the schema allows what strict servers cannot hold a model to."""


class _Rules:
    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.properties = 0
        self.choices = 0

    def node(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if self._strict and depth > _DEEPEST:
            raise _Loose
        said = {name: node[name] for name in _KEPT if name in node}
        if "format" in node and node["format"] in _FORMATS:
            said["format"] = node["format"]
        if "$ref" in node:
            return {"$ref": node["$ref"]}  # which nothing may stand beside
        if "anyOf" in node:
            return {"anyOf": [self.node(variant, depth) for variant in node["anyOf"]], **said}
        if "enum" in node:
            return {**self._choice(node["enum"]), **said}
        match node.get("type"):
            case "object":
                return {**self._object(node, depth), **said}
            case "array":
                return {"type": "array", **self._items(node, depth), **said}
            case "string" | "integer" | "number" | "boolean" | "null" as kind:
                return {"type": kind, **said}
        raise _Loose

    def _items(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if "items" in node:
            return {"items": self.node(node["items"], depth + 1)}
        if self._strict:
            raise _Loose
        return {"prefixItems": [self.node(place, depth + 1) for place in node["prefixItems"]]}

    def _choice(self, values: list[Any]) -> dict[str, Any]:
        self.choices += len(values)
        kinds = list(dict.fromkeys(_TYPES[type(value)] for value in values))
        if kinds == ["boolean"] and len(values) == 2:
            return {"type": "boolean"}
        return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}

    def _object(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if node.get("additionalProperties") is not False:
            raise _Loose
        self.properties += len(node["properties"])
        properties = {name: self.node(kept, depth + 1) for name, kept in node["properties"].items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
