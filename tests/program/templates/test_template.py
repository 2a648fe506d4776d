"""Templates: marks, guards, demos, messages, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import jinja2
import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Candidate, Demo, Kind, Prompt
from luthier.program.program import discover

CHAT = """\
# A chat. Reviewed by legal: do not touch the first line.
- role: system
  content: |  # tune: system
    You classify tickets.
    Be exact.
# demos
- role: user
  content: "Ticket: {ticket}"
"""
LM = lt.LM(lambda request: "billing")


def test_a_files_ending_says_how_it_is_written_and_its_name_names_its_regions(tmp_path: Path) -> None:
    sources = {
        "answer.md.j2": "{# tune: system #}Be {{ manner }}.{# end #}",
        "answer.txt": "<<tune:system>>Be {manner}.<<end>>",
        "answer.yaml": "system: 'Be {manner}.'  # tune: system\n",
    }
    for file, source in sources.items():
        (tmp_path / file).write_text(source, encoding="utf-8")
        made = lt.Template.load(tmp_path / file)
        assert [text.name for text in made.luthier_texts] == ["answer.system"]
        assert "Be kind." in str(made.data(manner="kind"))
        assert made.path == tmp_path / file
    assert lt.Template.load(tmp_path / "answer.txt", name="other").luthier_texts[0].name == "other.system"
    with pytest.raises(ConfigError, match="cannot read the template"):
        lt.Template.load(tmp_path / "gone.j2")


@pytest.mark.parametrize(
    ("syntax", "source", "said"),
    [
        ("format", "<<tune:a>>x", "<<tune:a>> has no <<end>>"),
        ("format", "x<<end>>", "<<end>> stands where no region is open"),
        ("format", "<<tune:a>>x<<tune:b>>y<<end>>", "inside the region"),
        ("format", "<<tune:a>>x<<end>><<tune:a>>y<<end>>", "two regions are called 'a'"),
        ("format", "<<tune:a>>an open { brace<<end>>", "not a format string"),
        ("jinja", "{# tune: a #}x", "has no {# end #}"),
        ("jinja", "{# tune: a #}{% if x %}y{% endif %}{# end #}", "text and {{ … }} only"),
        ("jinja", "{# tune: a #}x{# why #}{# end #}", "text and {{ … }} only"),
        ("jinja", "{% if %}", "not a Jinja template"),
        ("yaml", "# tune: a\n\na: x\n", "stands at no value"),
        ("yaml", "- role: system  # tune: a\n  content: x\n", "stands at no value"),
        ("yaml", "a: [", "not YAML"),
        ("latex", "x", "must be format"),
    ],
)
def test_a_malformed_template_is_refused_with_its_place(syntax: Any, source: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        lt.Template(source, name="t", syntax=syntax)
    assert said in str(found.value) and "template 't'" in str(found.value)


def test_what_looks_like_a_mark_where_none_can_be_is_text() -> None:
    raw = "{% raw %}{# tune: a #}{% endraw %}{{ '{# tune: b #}' }}"
    made = lt.Template(raw, name="t", syntax="jinja")
    assert not made.regions and made.render() == jinja2.Template(raw).render() == "{# tune: a #}{# tune: b #}"
    made = lt.Template("a: |\n  # tune: a\n  # demos\nb: '\n  # tune: b'\n", name="t", syntax="yaml")
    assert not made.regions and not made.takes_demos


def test_jinja_around_a_region_goes_on_working() -> None:
    source = "{% for n in numbers %}{# tune: line #}No. {{ n }}{# end #}{{ ', ' if not loop.last }}{% endfor %}"
    made = lt.Template(source, name="t", syntax="jinja")
    assert made.render(numbers=[1, 2]) == "No. 1, No. 2"
    with lt.use(LM, Candidate({"t.line": Prompt("{{ n }} {{ m }} {% x %}", kind=Kind.REGION)})):
        assert made.render(numbers=[1, 2]) == "1 {{ m }} {% x %}, 2 {{ m }} {% x %}"


@pytest.mark.parametrize("options", [{}, {"trim_blocks": True, "lstrip_blocks": True}, {"keep_trailing_newline": True}])
def test_jinjas_options_filters_and_includes_hold_and_marks_change_no_byte(tmp_path: Path, options: Any) -> None:
    (tmp_path / "part.j2").write_text("Part.\n", encoding="utf-8")
    source = "A\n  {#- tune: a -#}\n  text {{ q | shout }}\n  {# end #}\n  {# demos #}\n{% include 'part.j2' %}\nB\n"
    (tmp_path / "t.j2").write_text(source, encoding="utf-8")
    plain = jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path), **options)
    plain.filters["shout"] = str.upper
    made = lt.Template.load(tmp_path / "t.j2", jinja=options, filters={"shout": str.upper})
    assert made.render(q="hi") == plain.get_template("t.j2").render(q="hi")


def test_jinja_is_sandboxed_and_its_delimiters_stay() -> None:
    made = lt.Template("{{ q.__class__.__mro__ }}", name="t", syntax="jinja")
    with pytest.raises(jinja2.exceptions.SecurityError):
        made.render(q="x")
    with pytest.raises(ConfigError, match="variable_start_string"):
        lt.Template("x", name="t", syntax="jinja", jinja={"variable_start_string": "<<"})


def test_a_proposals_fields_are_the_originals_and_no_others() -> None:
    made = lt.Template("<<tune:a>>Answer {q.upper}.<<end>>", name="t")
    with lt.use(LM, Candidate({"t.a": Prompt("{q.__class__} {q} {q.upper}", kind=Kind.REGION)})):
        assert made.render(q="?").startswith("{q.__class__} {q} <built-in method upper")


def test_placeholders_and_guards_are_held_and_told_and_what_is_fixed_is_shown() -> None:
    guards = {"a": lt.Guard(max_tokens=50, must_contain=["JSON"], forbid=["sorry"])}
    made = lt.Template("Before.\n<<tune:a>>\nAs JSON, {q}!\n<<end>>\nAfter.", name="t", guards=guards)
    (text,) = made.luthier_texts
    assert text.guard == lt.Guard(50, ("{q}", "JSON"), ("sorry",))
    assert text.facts.endswith("Before.\n<<tune:a>>\n[THIS PART]\n<<end>>\nAfter.")
    assert text.fingerprint.startswith("region with {q} # ")
    with pytest.raises(ConfigError, match="guards name 'b'; its regions are a"):
        lt.Template(made.source, name="t", guards={"b": lt.Guard()})
    with pytest.raises(ConfigError, match="lists of texts"):
        lt.Guard(forbid="sorry")
    with pytest.raises(CandidateError, match=r"text 't\.a' was made for `region`"):
        made.apply(Candidate({"t.a": text.original}, {"t.a": "region # b2:0"}))


def test_an_input_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'q', which is not among the inputs \['r'\]"):
        lt.Template("{q}", name="t").render(r=1)


def test_a_yaml_chat_is_messages_and_nested_keys_are_data() -> None:
    chat = lt.Template(CHAT, name="triage", syntax="yaml")
    assert chat.messages(ticket="Where is {it}?") == [
        {"role": "system", "content": "You classify tickets.\nBe exact.\n"},
        {"role": "user", "content": "Ticket: Where is {it}?"},
    ]
    assert chat.render(ticket="x") == "You classify tickets.\nBe exact.\n\n\nTicket: x"
    crew = lt.Template(
        "agent:\n  goal: Find {what}  # tune: goal\n  steps: [1, 'two {what}']\n", name="crew", syntax="yaml"
    )
    assert crew.data(what="it") == {"agent": {"goal": "Find it", "steps": [1, "two it"]}}
    with pytest.raises(ConfigError, match="no chat"):
        crew.messages(what="it")
    pair = lt.Template("system: Be brief.\nuser: '{q}'\n", name="pair", syntax="yaml")
    assert [turn["role"] for turn in pair.messages(q="?")] == ["system", "user"]
    assert (
        lt.Template("messages:\n- {role: user, content: x}\n", name="m", syntax="yaml").messages()[0]["content"] == "x"
    )
    assert lt.Template("Say {q}", name="m").messages(q="hi") == [{"role": "user", "content": "Say hi"}]


def test_applied_a_file_differs_in_the_regions_lines_alone() -> None:
    chat = lt.Template(CHAT, name="triage", syntax="yaml")
    new = chat.apply(Candidate({"triage.system": Prompt("Read it.\n\n# demos\n  Then: decide.", kind=Kind.REGION)}))
    assert new == CHAT.replace(
        "    You classify tickets.\n    Be exact.\n", "    Read it.\n\n    # demos\n      Then: decide.\n"
    )
    assert chat.apply(Candidate({})) == CHAT


TRIAGE = lt.Template(CHAT, name="triage", syntax="yaml")
CONTINUED = lt.Template("<<tune:head>>Classify.<<end>>\n\n<<demos>>\nticket: {ticket}\nkind:", name="continued")
PLAIN = lt.Template("Classify {ticket}", name="plain")
DEMOS = (Demo({"ticket": "No money"}, {"kind": "billing"}), Demo({"ticket": "It broke"}, {"kind": "bug"}))


@lt.predictor(template=TRIAGE)
def kind(ticket: str) -> Literal["billing", "bug"]:
    return lt.predict()


@lt.predictor(name="kind", output="kind", template=CONTINUED)
def continued(ticket: str) -> str:
    return CONTINUED.render(ticket=ticket)


@lt.predictor(template=PLAIN)
def bare(ticket: str) -> str:
    return lt.predict()


def test_a_predictor_whose_words_are_a_templates_is_called_with_them_and_takes_demos_where_they_go() -> None:
    asked: list[Any] = []

    def answer(request: lt.Request) -> str:
        asked.append([(turn.role, turn.text) for turn in request.messages])
        return "bug"

    program = discover(kind)
    assert [(c.name, c.kind) for c in program.components] == [("kind", Kind.DEMOS), ("triage.system", Kind.REGION)]
    with lt.use(lt.LM(ScriptedLM(answer))):
        assert kind("Help") == "bug"
    with lt.use(lt.LM(ScriptedLM(answer)), program.original.with_demos("kind", DEMOS)):
        kind("Help")
    system, last = ("system", "You classify tickets.\nBe exact.\n"), ("user", "Ticket: Help")
    assert asked[0] == [system, last]
    assert asked[1] == [
        system,
        ("user", "Ticket: No money"),
        ("assistant", "billing"),
        ("user", "Ticket: It broke"),
        ("assistant", "bug"),
        last,
    ]


def test_a_body_that_renders_its_predictors_template_gets_the_demos_as_text() -> None:
    original = discover(continued).original
    with lt.use(LM):
        assert continued("Help") == "Classify.\n\nticket: Help\nkind:"
    with lt.use(LM, original.with_demos("kind", DEMOS)):
        assert continued("Help") == (
            "Classify.\n\nticket: No money\nkind: billing\n\nticket: It broke\nkind: bug\n\nticket: Help\nkind:"
        )
    jinja = lt.Template("Classify.\n\n{# demos #}ticket: {{ ticket }}", name="j", syntax="jinja")

    @lt.predictor(name="kind", output="kind", template=jinja)
    def own(ticket: str) -> str:
        return jinja.render(ticket=ticket)

    with lt.use(LM, Candidate({"kind": Prompt("", DEMOS[:1], Kind.DEMOS)})):
        assert own("Help") == "Classify.\n\nticket: No money\nkind: billing\n\nticket: Help"


def test_a_predictor_with_nothing_of_its_own_to_tune_is_no_variable() -> None:
    assert discover(kind, [kind, bare]).original.prompts.keys() == {"kind", "triage.system"}
    with pytest.raises(lt.LuthierError, match="no predictor that can be found"):
        discover(bare)
    with pytest.raises(lt.LuthierError, match="has no instruction"):

        @lt.predictor(template=PLAIN, instruction="Twice?")
        def twice(ticket: str) -> str:
            return lt.predict()
