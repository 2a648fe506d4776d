"""Instructions written back into a Python file: those, and not a byte else."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from luthier.errors import CandidateError
from luthier.exports.docstrings import Wanted, rewrite
from tests.lengths import examples


def written(source: str, /, *, old: str, new: str, name: str = "queue", encoding: str = "utf-8") -> str:
    after = rewrite(source.encode(encoding), {name: Wanted(old, new)}, "triage.py")
    assert after.found == (name,)
    return after.source.decode(encoding)


PLAIN = '''\
# -*- coding: utf-8 -*-
"""A module: çà et là."""
import luthier as lt


@lt.predictor(max_tokens=20)
def queue(complaint: str) -> str:  # the é before shifts bytes
    """Choose the queue."""
    return lt.predict()


def other() -> None:
    """Choose the queue."""
'''


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        ('"""Choose the queue."""', "Pick one.", '"""Pick one."""'),
        ("'Choose the queue.'", "Pick one.", "'Pick one.'"),
        ('"Choose the queue."', 'Pick "one".', '"Pick \\"one\\"."'),
        ('"Choose the queue."', "Pick:\n- a", '"""Pick:\n    - a\n    """'),
        ("'''Choose the queue.'''", "Pick:\n\n- a", "'''Pick:\n\n    - a\n    '''"),
        ('"""\n    Choose the queue.\n    """', "Pick:\n- a", '"""\n    Pick:\n    - a\n    """'),
        ('"""Choose the queue.\n\n    Well.\n    """', "Pick:\n- a", '"""Pick:\n    - a\n    """'),
        ('"""Choose the queue."""', "Pick:\n  - a\n  - b", '"""\n    Pick:\n      - a\n      - b\n    """'),
        ('r"""Choose the queue."""', r"Match \d.", r'r"""Match \d."""'),
        ('"""Choose the queue."""', r"Match \d.", r'"""Match \\d."""'),
        ('"""Choose the queue."""', 'Say """so""" and "so"', r'"""Say \"\"\"so\"\"\" and "so\""""'),
        ('"""Choose the queue."""', "A bell \x07 and \u202e", r'"""A bell \x07 and \u202e"""'),
        ('"Choose " "the queue."', "Pick one.", '"Pick one."'),
        ('("""Choose the queue.""")', "Pick one.", '("""Pick one.""")'),
        ('"""Choose the queue."""', "Choose the queue.", '"""Choose the queue."""'),
    ],
)
def test_a_docstring_keeps_its_manner(before: str, new: str, after: str) -> None:
    source = PLAIN.replace('"""Choose the queue."""\n    return', f"{before}\n    return", 1)
    old = inspect.cleandoc(ast.literal_eval(before))
    assert written(source, old=old, new=new) == source.replace(before, after, 1)


def test_all_else_stays_to_the_byte() -> None:
    new = "Wähle:\n  - 漢字"
    for encoding, source in {
        "utf-8": PLAIN.replace("\n", "\r\n"),
        "utf-8-sig": PLAIN,
        "latin-1": PLAIN.replace("utf-8 -*-", "latin-1 -*-"),
    }.items():
        text = "Wähle:\n  - é" if encoding == "latin-1" else new
        after = written(source, old="Choose the queue.", new=text, encoding=encoding)
        head, tail = source.split('"""Choose the queue."""', 1)
        assert after.startswith(head)
        assert after.endswith(tail)
        assert ("\r\n" in after) == ("\r\n" in source)
        assert after.replace("\r\n", "").count("\n") == (0 if "\r\n" in source else after.count("\n"))


def test_tabs_methods_async_and_one_liners_are_found() -> None:
    source = textwrap.dedent(
        """\
        import luthier
        from luthier import predictor
        class Desk:
        \tclass Inner:
        \t\t@luthier.predictor
        \t\tasync def urgency(self, ticket: str) -> int:
        \t\t\t'''Judge.'''
        @predictor
        def queue(x: str) -> str: "Choose."
        @predictor(name="team", instruction="Route \\"it\\".")
        def route(x: str) -> str: return predict()
        """
    )
    after = written(source, old="Judge.", new="Judge:\n1\n2", name="Inner.urgency")
    assert "'''Judge:\n\t\t\t1\n\t\t\t2\n\t\t\t'''" in after
    assert 'str: """Choose:\n    a\n    """' in written(source, old="Choose.", new="Choose:\na")
    assert 'instruction="Send\\n\\"it\\"."' in written(source, old='Route "it".', new='Send\n"it".', name="team")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.replace("Choose the queue.", "Choose a team."), "line 7.*'queue' has changed since the study"),
        (lambda s: s + "\nsecond = queue.named('second')\n", "under another name"),
        (lambda s: s + s.split("\n\n\n")[1], "two predictors called 'queue'"),
        (lambda s: s.replace("max_tokens=20", "instruction=TEXT"), "is computed"),
        (lambda s: s + "\ndef (", "no Python file"),
    ],
)
def test_what_is_not_safe_is_refused_by_name(change: Any, said: str) -> None:
    with pytest.raises(CandidateError, match=said):
        written(change(PLAIN), old="Choose the queue.", new="Pick one.")


@pytest.mark.parametrize("new", [" Pick.", "Pick.\n", "\nPick.", "Pick\ta.", ""])
def test_what_python_would_take_out_of_a_docstring_is_refused(new: str) -> None:
    try:
        after = written(PLAIN, old="Choose the queue.", new=new)
    except CandidateError as error:
        assert "cannot be a docstring" in str(error)
    else:
        assert new == "" and '    """"""\n    return' in after


def test_a_name_that_is_computed_is_nobodys() -> None:
    source = PLAIN.replace("max_tokens=20", "name=NAME")
    assert rewrite(source.encode(), {"queue": Wanted("Choose the queue.", "x")}, "t.py").found == ()


QUOTES = ['"""', "'''", '"', "'", 'r"""', "u'"]


@settings(deadline=None, max_examples=examples(400))
@given(
    st.sampled_from(QUOTES),
    st.booleans(),
    st.one_of(
        st.text(alphabet="ab \n\"'\\{}\t#", max_size=30),
        st.text(alphabet=st.characters(codec="utf-8"), max_size=30),
    ),
)
def test_whatever_is_written_reads_back_as_it_was_meant(quote: str, own_line: bool, new: str) -> None:
    mark = quote.lstrip("ru")
    assume(len(mark) == 3 or not own_line)
    body = "\n    Choose.\n    " if own_line else "Choose."
    source = f"import luthier as lt\n@lt.predictor\ndef queue(x: str) -> str:\n    {quote}{body}{mark}\nAFTER = 1\n"
    try:
        after = written(source, old="Choose.", new=new)
    except CandidateError:
        assert inspect.cleandoc(new) != new or "\t" in new
        return
    function = ast.parse(after).body[1]
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function) == new
    assert after.startswith(source.split(quote)[0])
    assert after.endswith("\nAFTER = 1\n")
