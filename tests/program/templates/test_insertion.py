"""What is proposed comes out letter for letter, in every form of template, in memory and written to the file."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import luthier as lt
from luthier.program.candidate import Candidate, Kind, Prompt
from tests.lengths import examples

LM = lt.LM(lambda request: "")

PIECES = st.sampled_from(
    [
        *("{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "{question}", "{0}", "{}", "{{ x }}", "{{ question }}"),
        *(
            "{% raw %}",
            "{% if x %}",
            "<<end>>",
            "<<tune:a>>",
            "<<!end>>",
            "<<demos>>",
            "# tune: a",
            "# demos",
            "!tune:a",
        ),
        *("&a", "*a", "|", ">", "---", "...", "'", '"', "\\", "%", "@", "`", ": ", "- ", "\t", " "),
        *("\n", "\n\n", "\r", "\r\n", "\u2028", "\x85", "\ufeff", "\x00", "\ud800", "🎻", "é"),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join).map(str.strip)

BRACES = "Answer.\n<<tune:a>>\nBe brief {{{question}}}.\n<<end>>\nQ: {question} {{}} <<!end>>\n"
JINJA = "Answer.\n{# tune: a #}\nBe brief {{ question }}.\n{# end #}\n{% if question %}Q: {{ question }}{% endif %}\n\n"
YAML = "- role: system\n  content: |  # tune: a\n    Be brief {question}.\n    Yes.\n\n# demos\n"
YAML += "- {role: user, content: 'Q: {question}'}\n"
FOLDED = "a: >-\n  Be brief {question},\n  and sure.\n# tune: b\nb: Plain {question}\nc: [1, 'two']\n"
YAML_JINJA = (
    "- role: system\n  content: !tune:a \"Be brief {{ question }}.\\n\"\n- role: user\n  content: 'Q: {{ question }}'\n"
)


def template(source: str, syntax: Any) -> lt.Template:
    return lt.Template(source, name="t", syntax=syntax)


def candidate(text: str, region: str = "a") -> Candidate:
    return Candidate({f"t.{region}": Prompt(text, kind=Kind.REGION)})


def rendered(made: lt.Template, text: str, region: str = "a") -> Any:
    with lt.use(LM, candidate(text, region)):
        return made.data(question="?{x}{{ y }}")


def without_field(text: str, field: str) -> str:
    return text.replace(field, "?{x}{{ y }}")


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_in_a_format_string(text: str) -> None:
    made = template(BRACES, "format")
    expected = f"Answer.\n{without_field(text, '{question}')}\nQ: ?{{x}}{{{{ y }}}} {{}} <<end>>\n"
    assert rendered(made, text) == expected
    applied(made, text, BRACES)


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_in_a_jinja_template(text: str) -> None:
    made = template(JINJA, "jinja")
    said = without_field(text, "{{ question }}")
    assert rendered(made, text) == f"Answer.\n\n{said}\n\nQ: ?{{x}}{{{{ y }}}}\n"
    applied(made, text, JINJA)


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_in_yaml_messages(text: str) -> None:
    made = template(YAML, "yaml")
    data = rendered(made, text)
    assert data == [
        {"role": "system", "content": without_field(text, "{question}") + "\n"},
        {"role": "user", "content": "Q: ?{x}{{ y }}"},
    ]
    applied(made, text, YAML)


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_in_yaml_of_other_styles(text: str) -> None:
    made = template(FOLDED, "yaml")
    assert rendered(made, text, "b") == {
        "a": "Be brief ?{x}{{ y }}, and sure.",
        "b": without_field(text, "{question}"),
        "c": [1, "two"],
    }
    applied(made, text, FOLDED, "b")
    folded = template(FOLDED.replace("a: >-\n", "a: >-  # tune: a\n"), "yaml")
    assert rendered(folded, text)["a"] == without_field(text, "{question}")
    applied(folded, text, folded.source)


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_in_yaml_with_jinja_inside(text: str) -> None:
    made = template(YAML_JINJA, "yaml+jinja")
    # Jinja takes one line break from the end, as it does from a file's.
    assert rendered(made, text)[0]["content"] == without_field(text, "{{ question }}")
    applied(made, text, YAML_JINJA)


def applied(made: lt.Template, text: str, source: str, region: str = "a") -> None:
    """The file with the text in it says the same when it is read again, and nothing else has changed."""
    new = made.apply(candidate(text, region))
    again = lt.Template(new, name="t", syntax=made.syntax)
    assert again.regions[region].text == text
    assert new.startswith(source[: made.regions[region].start])
    assert new.endswith(source[made.regions[region].end :])
    assert again.data(question="q") == _with_candidate(made, text, region)


def _with_candidate(made: lt.Template, text: str, region: str) -> Any:
    with lt.use(LM, candidate(text, region)):
        return made.data(question="q")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_original_is_what_str_format_jinja_and_yaml_give_to_the_byte(newline: str) -> None:
    inputs = {"question": "What {is} {{ it }}?\r\n"}
    plain = BRACES.replace("<<tune:a>>\n", "").replace("<<end>>\n", "").replace("<<!end>>", "<<end>>")
    made = template(BRACES.replace("\n", newline), "format")
    assert made.render(**inputs) == plain.replace("\n", newline).format(**inputs)
    made = template(JINJA.replace("\n", newline), "jinja")
    assert made.render(**inputs) == jinja2.Template(JINJA.replace("\n", newline)).render(**inputs)
    for source in (YAML, FOLDED):
        made = template(source.replace("\n", newline), "yaml")
        assert made.data(**inputs) == _formatted(yaml.safe_load(source.replace("\n", newline)), inputs)


def _formatted(data: Any, inputs: Any) -> Any:
    if isinstance(data, dict):
        return {key: _formatted(item, inputs) for key, item in data.items()}
    if isinstance(data, list):
        return [_formatted(item, inputs) for item in data]
    return data.format(**inputs) if isinstance(data, str) else data
