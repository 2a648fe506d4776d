"""Taking luthier's own code out of luthier."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.exports.lift import lift


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> str:
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_what_a_definition_reaches_comes_along_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import json\nimport re\n\n_B = 1\n_A = {'x': _B}\n\n\ndef unused():\n    return json\n\n\n"
        "# Why it is so.\n@property\ndef used(key, re2=None):\n    '''Say.'''\n"
        "    return [_A[k] for k in re.split(key)]\n"
    )
    lifted = lift(module(tmp_path, monkeypatch, "lifted_one", code), "used")
    assert lifted.names == {"used", "_A", "_B"}
    assert lifted.imports == "import re\n"
    assert (
        lifted.code.index("_B = 1") < lifted.code.index("_A =") < lifted.code.index("# Why it is so.\n@property\ndef")
    )


def test_the_roots_own_definition_replaces_luthiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from luthier.program.values import input_text\n\n\ndef _item_text(item):\n    return 'mine'\n\n\n"
        "def shown(value):\n    return input_text(value)\n"
    )
    lifted = lift(module(tmp_path, monkeypatch, "lifted_two", code), "shown")
    space: dict[str, object] = {}
    exec("from __future__ import annotations\n" + lifted.imports + lifted.code, space)
    assert space["shown"](["a"]) == "1. mine"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f():\n    import os\n    return os\n", "imports inside a function"),
        ("from luthier.canonical import content_hash as h\n\n\ndef f():\n    return h(1)\n", "as they are"),
        ("def f():\n    return nowhere\n", "nowhere"),
    ],
)
def test_what_cannot_be_taken_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    name = module(tmp_path, monkeypatch, f"lifted_{abs(hash(code))}", code)
    with pytest.raises(ValueError, match=said):
        lift(name, "f")
