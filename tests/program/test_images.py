"""Images: parts of a turn for the LM, hashes for everybody else."""

from __future__ import annotations

import base64
import copy
import gc
import hashlib
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError, DataError
from luthier.evaluation.data import load_rows
from luthier.lm import images
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import ImagePart, TextPart
from luthier.program.candidate import Demo, Prompt
from luthier.program.program import discover
from luthier.program.render import messages
from luthier.propose.demos import labeled_demos
from luthier.study.journal import read_journal
from tests.lm.server import OpenAIServer
from tests.optimizers.studies import Interrupted, stop_after

Shade = Literal["dark", "light"]


def png(shade: int) -> bytes:
    """Return an image of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def forgotten() -> Any:
    """What a process of its own knows: no image."""
    known = dict(images._shelf)
    images._shelf.clear()
    yield images._shelf.clear
    images._shelf.update(known)


@lt.predictor
def shade(title: str, photo: lt.Image, hint: str = "") -> Shade:
    """Say how dark the photo is."""
    return lt.predict()


def test_an_image_is_known_by_its_bytes_however_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    address = f"data:image/png;base64,{base64.b64encode(png(1)).decode()}"
    made = [lt.Image(tmp_path / "a.png"), lt.Image(str(tmp_path / "a.png")), lt.Image(png(1)), lt.Image(address)]
    assert len(set(made)) == 1 and {one.sha256 for one in made} == {sha(png(1))}
    assert {one.part.url for one in made} == {address} and {one.media_type for one in made} == {"image/png"}
    there = lt.Image("https://example.org/cat.jpg?size=2")
    assert there.part == ImagePart(sha(b"https://example.org/cat.jpg?size=2"), "image/jpeg", there.source)
    for wrong, said in (("gone.png", "cannot read the image"), ("data:image/png,x", "no data: address")):
        with pytest.raises(DataError, match=said):
            lt.Image(wrong)


def test_a_file_that_has_changed_since_is_not_sent_as_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(11))
    image = lt.Image(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png(12))
    with pytest.raises(DataError, match="has changed"):
        image.part  # noqa: B018 - read for what it raises


def test_an_image_is_a_part_of_its_turn_in_the_order_of_the_signature() -> None:
    turn = messages(shade.signature, shade.original, {"title": "T", "photo": png(1), "hint": "look"})[-1]
    assert turn.content == (TextPart("title: T\nphoto:"), lt.Image(png(1)).part, TextPart("hint: look"))

    @lt.predictor
    def several(photos: list[lt.Image], scan: lt.Image | None = None) -> str:
        """Say what they have in common."""
        return lt.predict()

    turn = messages(several.signature, several.original, {"photos": [png(1), png(2)], "scan": None})[-1]
    assert [type(part).__name__ for part in turn.content] == ["TextPart", "ImagePart", "ImagePart", "TextPart"]


def test_over_the_wire_an_image_is_openais_image_url_part(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    with OpenAIServer(lambda body: "dark") as server, lt.use(lt.LM("m", base_url=server.url, api_key="none")):
        assert shade("T", lt.Image(tmp_path / "a.png")) == "dark"
    content = server.requests[0]["messages"][-1]["content"]
    assert content[0] == {"type": "text", "text": "title: T\nphoto:"}
    assert content[1] == {"type": "image_url", "image_url": {"url": lt.Image(png(1)).part.url}}


def test_an_image_travels_between_processes_with_its_bytes(tmp_path: Path, forgotten: Any) -> None:
    (tmp_path / "a.png").write_bytes(png(4))
    parcels = [(made, *image.__reduce__()[1]) for image in (lt.Image(tmp_path / "a.png"),) for made in [lt.Image]]
    (tmp_path / "a.png").unlink()
    forgotten()
    arrived = [made(*given) for made, *given in parcels]
    assert [image.part for image in arrived] == [lt.Image(png(4)).part]
    assert lt.Image.of({"image": sha(png(4)), "type": "image/png"}).content == png(4)


def test_an_image_among_the_data_is_not_told_to_the_proposer_as_text() -> None:
    from luthier.propose.fields import named_text

    address = lt.Image(png(1)).part.url
    assert named_text({"photo": address, "photos": [address], "n": 1}) == 'photo: [image]\nphotos: ["[image]"]\nn: 1'


def test_base_models_and_templates_have_no_place_for_images() -> None:
    with lt.use(lt.LM(lambda request: "", endpoint="completions")), pytest.raises(ConfigError, match="is an image"):
        shade("T", lt.Image(png(1)))

    @lt.predictor(template=lt.Template("See {photo}", name="see"))
    def seen(photo: lt.Image) -> str:
        return lt.predict()

    with lt.use(lt.LM(lambda request: "")), pytest.raises(ConfigError, match="its input 'photo' is none"):
        seen(lt.Image(png(1)))


def truth(number: int) -> Shade:
    return "dark" if number % 2 else "light"


def look(photo: str, title: str) -> Shade:
    """Judge a photo by its path."""
    return shade(title=title, photo=photo)  # type: ignore[arg-type]


def judge(request: lt.Request) -> str:
    """Answer rightly with enough demos or care; propose care."""
    if "proposed instruction" in request.messages[0].text or not isinstance(request.messages[-1].content, tuple):
        return f"Look carefully at the photo, way {request.sample % 89}, then say its shade."
    (part,) = (part for part in request.messages[-1].content if isinstance(part, ImagePart))
    number = int.from_bytes(bytes.fromhex(part.sha256)[:2], "big")
    shown = sum(turn.role == "assistant" for turn in request.messages)
    right = next(truth(n) for n in range(130) if sha(png(n)) == part.sha256)
    if number % 100 < 40 + 8 * min(shown, 6):
        return right
    return "light" if right == "dark" else "dark"


def photos(folder: Path, n: int = 120) -> list[dict[str, str]]:
    rows = []
    for number in range(n):
        (folder / f"{number}.png").write_bytes(png(number))
        rows.append({"photo": str(folder / f"{number}.png"), "title": f"No. {number}", "shade": truth(number)})
    return rows


SEARCH = lt.MIPRO(candidates=3, demo_sizes=(0, 4, 6), instructions=2, trials=8, minibatch=9, closing=2)


def tuned(tmp_path: Path, asked: list[lt.Request], settings: Any = SEARCH, **given: Any) -> lt.Result[Any]:
    def answer(request: lt.Request) -> str:
        asked.append(request)
        return judge(request)

    metric = lt.exact_match("shade")
    where = {"study_dir": tmp_path / "s", "lm": lt.LM(ScriptedLM(answer)), "optimizer": settings, **given}
    return lt.optimize(look, photos(tmp_path), metric, **where)


def test_a_study_over_images_keeps_hashes_alone_shows_the_proposer_none_and_resumes(
    tmp_path: Path, forgotten: Any
) -> None:
    asked: list[lt.Request] = []
    with pytest.raises(Interrupted):
        tuned(tmp_path, asked, on_event=stop_after(9))
    forgotten()
    result = tuned(tmp_path, asked)
    demos = result.best.prompts["shade"].demos
    assert len(demos) >= 4 and all(demo.inputs["photo"].keys() == {"image", "type"} for demo in demos)
    journal = (tmp_path / "s" / "journal.jsonl").read_bytes()
    assert b"base64" not in journal and demos[0].inputs["photo"]["image"].encode() in journal
    assert read_journal(tmp_path / "s" / "journal.jsonl")[-1]["event"] == "done"
    to_proposer = [request for request in asked if "proposed instruction" in request.messages[0].text]
    assert to_proposer and all(isinstance(turn.content, str) for r in to_proposer for turn in r.messages)
    assert any("photo: [image]" in request.messages[0].text for request in to_proposer)
    assert all(demos[0].inputs["photo"]["image"] not in request.messages[0].text for request in to_proposer)


def test_the_proposer_sees_the_images_of_demos_where_it_is_allowed(tmp_path: Path) -> None:
    from dataclasses import replace

    asked: list[lt.Request] = []
    tuned(tmp_path, asked, replace(SEARCH, grounding=replace(SEARCH.grounding, images=True)))
    to_proposer = [request for request in asked if "proposed instruction" in request.messages[0].text]
    assert any(isinstance(part, ImagePart) for request in to_proposer for part in request.messages[0].content)


def test_saved_a_candidate_has_its_images_beside_its_demos(tmp_path: Path, forgotten: Any) -> None:
    there = lt.Image("https://example.org/cat.jpg")
    photos_shown = (lt.Image(png(1)), there)
    demos = tuple(Demo({"title": "T", "photo": one.luthier_json()}, {"shade": "dark"}) for one in photos_shown)
    candidate = lt.Candidate({"shade": Prompt("Say it.", demos)})
    candidate.save(tmp_path / "prompts")
    assert {file.name for file in (tmp_path / "prompts" / "images").iterdir()} == {
        f"{sha(png(1))}.png",
        f"{there.sha256}.url",
    }
    assert "base64" not in (tmp_path / "prompts" / "shade.demos.jsonl").read_text(encoding="utf-8")
    forgotten()
    with pytest.raises(CandidateError, match="is not known here"):
        candidate.save(tmp_path / "elsewhere")
    loaded = lt.Candidate.load(tmp_path / "prompts")
    assert loaded == candidate
    shown = messages(shade.signature, loaded.prompts["shade"], {"title": "U", "photo": png(2)})
    urls = [part.url for turn in shown for part in turn.content if isinstance(part, ImagePart)]
    assert urls == [lt.Image(png(1)).part.url, "https://example.org/cat.jpg", lt.Image(png(2)).part.url]


def test_keys_hold_the_hash_so_where_an_image_lies_changes_nothing(tmp_path: Path) -> None:
    paid: list[lt.Request] = []

    def answer(request: lt.Request) -> str:
        paid.append(request)
        return "dark"

    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(3))
        rows = [{"photo": str(tmp_path / name), "title": "T", "shade": "dark"}]
        lt.evaluate(look, rows, lt.exact_match("shade"), lm=lt.LM(ScriptedLM(answer)), store=tmp_path / "store.sqlite")
    assert len(paid) == 1


def photo_of(number: int) -> bytes:
    """Return a photo that no other test has."""
    return png(0) + f"photo {number}".encode()


def known(*contents: bytes) -> bool:
    """Whether any of these images is known."""
    gc.collect()
    for content in contents:
        with suppress(DataError):
            lt.Image.of({"image": sha(content), "type": "image/png"})
            return True
    return False


def test_a_service_keeps_no_image_of_the_requests_it_has_answered() -> None:
    answer = lt.bind(look, lm=lt.LM(ScriptedLM(lambda request: "dark")))
    with lt.use(lt.LM(ScriptedLM(lambda request: "dark"))):
        for number in range(100, 110):
            assert answer(title="T", photo=photo_of(number)) == "dark"  # type: ignore[arg-type]
            assert look(title="T", photo=photo_of(number)) == "dark"  # type: ignore[arg-type]
    assert not known(*map(photo_of, range(100, 110)))


def test_an_evaluation_keeps_no_image_once_it_has_ended() -> None:
    photos = [f"data:image/png;base64,{base64.b64encode(photo_of(number)).decode()}" for number in range(120, 130)]
    rows = [{"title": f"T {number}", "photo": photo, "shade": "dark"} for number, photo in enumerate(photos)]
    evaluation = lt.evaluate(look, rows, lt.exact_match("shade"), lm=lt.LM(ScriptedLM(lambda request: "dark")))
    assert evaluation.mean == 1.0 and not known(*map(photo_of, range(120, 130)))


def test_a_demo_keeps_its_images_and_a_copy_of_it_does(tmp_path: Path) -> None:
    image = lt.Image(photo_of(140))
    demo = Demo({"title": "T", "photo": image.luthier_json()}, {"shade": "dark"})
    del image
    assert known(photo_of(140))
    again = Demo.from_json(demo.to_json())
    del demo
    assert known(photo_of(140))
    lt.Candidate({"shade": Prompt("Say it.", (again,))}).save(tmp_path)
    del again
    assert not known(photo_of(140))
    loaded = lt.Candidate.load(tmp_path)
    assert known(photo_of(140)) and loaded.prompts["shade"].demos[0].inputs["photo"]["image"] == sha(photo_of(140))


def test_an_image_is_known_as_long_as_any_of_its_equals_is_held() -> None:
    content = photo_of(160)
    held = [lt.Image(content), lt.Image(content), copy.copy(lt.Image(content))]
    while held:
        assert known(content)
        del held[0]
    assert not known(content)


def test_the_demos_of_a_finished_study_can_be_saved_though_its_data_are_gone(tmp_path: Path) -> None:
    result = tuned(tmp_path, [])
    gc.collect()
    result.best.save(tmp_path / "kept")
    assert len(list((tmp_path / "kept" / "images").iterdir())) >= 4


def test_demos_of_labelled_rows_keep_the_images_that_are_made_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo_of(150))
    row = {"title": "T", "photo": str(tmp_path / "a.png"), "shade": "dark", "hint": ""}
    rows = load_rows([row], discover(look).parameters)
    demos = labeled_demos(rows, {"shade": shade.signature}, frozenset())["shade"]
    assert known(photo_of(150)) and len(demos) == 1
