"""Any type that pydantic can say in JSON is an output: shown, asked for, read, and checked."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import luthier as lt
from luthier.lm.body import request_body
from luthier.lm.providers import Address
from luthier.lm.request import Completion, Request
from luthier.lm.sent_schema import sent_schema
from luthier.program.grammar import output_schema
from luthier.program.parse import parse
from luthier.program.predictor import Predictor
from luthier.program.render import messages
from luthier.program.values import json_to_value, value_to_json
from tests.lengths import examples


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Person(BaseModel):
    first_name: str = Field(alias="firstName")
    age: int


class Name(BaseModel):
    first_name: str = Field(alias="firstName")


class Point(NamedTuple):
    x: int
    y: int


class Cat(BaseModel):
    kind: Literal["cat"]
    size: Size


class Dog(BaseModel):
    kind: Literal["dog"]
    when: datetime.date


class Loose(BaseModel):
    subject: str
    extra: dict[str, Any] = {}


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Stars = Annotated[int, Field(ge=1, le=5)]
DAY = datetime.date(2025, 1, 2)


def returning(annotation: Any) -> Predictor[..., Any]:
    def out(text: str) -> Any:
        """Do it."""

    out.__annotations__["return"] = annotation
    return lt.predictor(out)


def value(annotation: Any, answer: str) -> Any:
    return parse(returning(annotation).signature, Completion(answer)).value


@pytest.mark.parametrize(
    ("annotation", "answer", "expected"),
    [
        (Node, '{"value": 1, "children": [{"value": 2}]}', Node(value=1, children=[Node(value=2)])),
        (Person, '{"firstName": "Ada", "age": 36}', Person(firstName="Ada", age=36)),
        (Person, "first_name: Ada\n\nage: 36", Person(firstName="Ada", age=36)),
        (Name, '{"firstName": "Ada"}', Name(firstName="Ada")),
        (list[Name], '[{"firstName": "Ada"}, {"first_name": "Bo"}]', [Name(firstName="Ada"), Name(firstName="Bo")]),
        (datetime.date, "2025-01-02.", DAY),
        (datetime.date | None, "none", None),
        (datetime.timedelta, "P1DT2H", datetime.timedelta(days=1, hours=2)),
        (decimal.Decimal, "12.50", decimal.Decimal("12.50")),
        (uuid.UUID, str(uuid.UUID(int=7)), uuid.UUID(int=7)),
        (int | str, '{"out": "5"}', "5"),
        (int | list[Size], '{"out": ["LARGE"]}', [Size.LARGE]),
        (tuple[str, Size], '["a", "small"]', ("a", Size.SMALL)),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (list[Point], '[{"x": 1, "y": 2}]', [Point(1, 2)]),
        (dict[str, datetime.date], '{"a": "2025-01-02"}', {"a": DAY}),
        (Pet, '{"out": {"kind": "cat", "size": "LARGE"}}', Cat(kind="cat", size=Size.LARGE)),
        (list[Pet], '[{"kind": "dog", "when": "2025-01-02"}]', [Dog(kind="dog", when=DAY)]),
        (Stars, "4", 4),
    ],
)
def test_an_answer_becomes_a_value_of_the_declared_type(annotation: Any, answer: str, expected: Any) -> None:
    read = value(annotation, answer)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "answer"),
    [
        (Stars, "9"),
        (list[Stars], "[1, 9]"),
        (datetime.date, "soon"),
        (Pet, '{"kind": "cow"}'),
        (tuple[str, int], "[1]"),
    ],
)
def test_what_breaks_a_rule_of_the_type_is_unparseable(annotation: Any, answer: str) -> None:
    with pytest.raises(lt.Unparseable, match="out"):
        value(annotation, answer)


@pytest.mark.parametrize(
    ("annotation", "sent"), [(Node, True), (tuple[str, int], False), (Loose, None), (dict[str, int], None)]
)
def test_a_schema_is_sent_strictly_loosely_or_not_at_all(annotation: Any, sent: bool | None) -> None:
    found = sent_schema(output_schema(returning(annotation).signature))
    assert (None if found is None else found.strict) is sent


def test_a_user_can_have_no_schema_sent() -> None:
    seen: list[Request] = []

    class Server:
        async def complete(self, request: Request) -> Completion:
            seen.append(request)
            return Completion('{"out": ["a"]}')

    for structured in (True, False):
        with lt.use(lt.LM(Server(), structured=structured)):
            assert returning(list[str])("x") == ["a"]
    assert [request.schema is not None for request in seen] == [True, False]
    assert seen[0].messages == seen[1].messages


def test_a_node_that_only_lists_choices_has_a_type_on_the_wire() -> None:
    class Server:
        async def complete(self, request: Request) -> Completion:
            body = request_body(request, Address("m", "http://localhost:1/v1", None, None, None), llama=False)
            form = body["response_format"]["json_schema"]
            assert form["strict"] is True
            assert form["schema"]["properties"]["out"]["items"] == {"type": "string", "enum": ["a", "b"]}
            return Completion('{"out": ["b"]}')

    with lt.use(lt.LM(Server(), structured=True)):
        assert returning(list[Literal["a", "b"]])("x") == ["b"]


# --- any type of depth <= 3 ---

LEAVES: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (str, st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8).map(lambda s: f"w{s}")),
    (int, st.integers(-(10**6), 10**6)),
    (float, st.floats(-1e6, 1e6).map(lambda x: round(x, 3))),
    (bool, st.booleans()),
    (Literal["red", "blue"], st.sampled_from(["red", "blue"])),
    (Size, st.sampled_from(list(Size))),
    (datetime.date, st.dates()),
    (datetime.datetime, st.datetimes()),
    (decimal.Decimal, st.decimals(-1000, 1000, places=2)),
    (uuid.UUID, st.uuids()),
    (Stars, st.integers(1, 5)),
    (Pet, st.builds(Cat, kind=st.just("cat"), size=st.sampled_from(list(Size)))),
    (Node, st.builds(Node, value=st.integers(0, 9), children=st.lists(st.builds(Node, value=st.integers(0, 9))))),
    (Point, st.builds(Point, st.integers(0, 9), st.integers(0, 9))),
)


@st.composite
def typed(draw: st.DrawFn, depth: int = 3) -> Any:
    """Draw a type and a strategy for its values."""
    if depth == 1 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(LEAVES))
    inner: Any
    other: Any
    inner, values = draw(typed(depth - 1))
    other, others = draw(typed(depth - 1))
    match draw(st.sampled_from(["list", "tuple", "dict", "optional", "union", "model", "dataclass"])):
        case "list":
            return list.__class_getitem__(inner), st.lists(values, max_size=3)
        case "tuple":
            return tuple.__class_getitem__((inner, other)), st.tuples(values, others)
        case "dict":
            return dict.__class_getitem__((str, inner)), st.dictionaries(st.sampled_from("abc"), values)
        case "optional":
            return inner | None, values | st.none()
        case "union":
            return list.__class_getitem__(inner) | bool, st.lists(values, max_size=2) | st.booleans()
        case "model":
            made: Any = pydantic.create_model("Made", one=(inner, ...), two=(other, Field(alias="zwei")))
            return made, st.builds(lambda one, two, m=made: m(one=one, zwei=two), values, others)
    record: Any = dataclasses.make_dataclass("Record", [("one", inner), ("two", Annotated[other, "the second"])])
    return record, st.builds(record, values, others)


def written(value: Any) -> Any:
    """Return a value as an LM that keeps to the schema writes it."""
    if isinstance(value, BaseModel):
        return {name: written(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: written(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: written(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [written(item) for item in value]
    return value_to_json(value)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_type_is_shown_asked_for_and_read_back(data: st.DataObject) -> None:
    annotation, values = data.draw(typed())
    predictor = returning(annotation)
    signature, schema = predictor.signature, output_schema(predictor.signature)
    assert messages(signature, predictor.original, {"text": "x"})
    wanted = data.draw(values)
    outputs = written(wanted)
    if len(signature.outputs) == 1 and signature.outputs[0].name == "out":
        outputs = {"out": outputs}
    check_instance(schema, outputs, schema)
    # Where the schema is sent, its own words for the answer are enough.
    assert parse(signature, Completion(json.dumps(outputs))).value == wanted
    assert json_to_value(annotation, written(wanted)) == wanted
    sent = sent_schema(schema)
    if sent is not None and sent.strict:
        check_strict(sent.schema)
        assert strict_by_openai(sent.schema) == sent.schema


def check_instance(schema: Mapping[str, Any], data: Any, root: Mapping[str, Any]) -> None:
    """Assert that data keep to a schema, as far as its form goes."""
    if "$ref" in schema:
        return check_instance(root["$defs"][schema["$ref"].rpartition("/")[2]], data, root)
    if "anyOf" in schema:
        for variant in schema["anyOf"]:
            try:
                return check_instance(variant, data, root)
            except AssertionError:
                continue
        raise AssertionError((schema, data))
    if "enum" in schema:
        assert data in schema["enum"]
        return None
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": list,
        "object": dict,
        "null": type(None),
    }
    assert isinstance(data, kinds[schema["type"]]), (schema, data)
    if schema["type"] == "array":
        places = schema.get("prefixItems") or [schema["items"]] * len(data)
        for place, item in zip(places, data, strict=True):
            check_instance(place, item, root)
    elif "properties" in schema:
        assert list(data) == list(schema["properties"])
        for name, item in data.items():
            check_instance(schema["properties"][name], item, root)
    return None


def check_strict(schema: Mapping[str, Any], depth: int = 1) -> None:
    """Assert OpenAI's published rules for strict schemas."""
    allowed = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "$ref", "$defs"}
    allowed |= {"description", "pattern", "format", "minItems", "maxItems", "multipleOf"}
    allowed |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    assert set(schema) <= allowed, set(schema) - allowed
    assert depth <= 10
    assert {"type", "anyOf", "$ref"} & set(schema)
    if depth == 1 and "$defs" in schema:
        assert schema["type"] == "object"
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    for kept in inner:
        check_strict(kept, depth + 1)
    for kept in (*schema.get("anyOf", ()), *schema.get("$defs", {}).values()):
        check_strict(kept, depth)


def strict_by_openai(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what the ``openai`` package makes of a schema for a strict server."""
    conversion = pytest.importorskip("openai.lib._pydantic")
    copied = deepcopy(schema)
    made: dict[str, Any] = conversion._ensure_strict_json_schema(copied, path=(), root=copied)
    return made
