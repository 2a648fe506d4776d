"""A candidate on disk: one readable ``.md`` per component, its demos as ``.jsonl``, and ``candidate.json``.

The ``.md`` and ``.jsonl`` files are what counts: edit them by hand, and loading reads the edits. Nothing read from
disk is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luthier.errors import CandidateError, DataError
from luthier.lm.images import Image, hashes_in
from luthier.program.prompt import Demo, Kind, Prompt

VERSION = 1
"""Of the form of the files."""

_INDEX = "candidate.json"
IMAGES = "images"
"""The folder of the demos' images, by hash."""
_WORDS = {Kind.REGION: "region", Kind.TOOL: "tool"}
_FRONT = re.compile(r"---(\r?\n)(.*?)\r?\n---\r?\n", re.DOTALL)


def save_prompts(
    prompts: Mapping[str, Prompt], fingerprints: Mapping[str, str], directory: str | os.PathLike[str]
) -> None:
    """Write a candidate's prompts into a directory, which is made if need be; other files in it are left alone.

    Raises:
        CandidateError: the directory cannot be written, or a demo holds what JSON cannot.
    """
    folder = Path(directory)
    stems = file_stems(prompts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, prompt in prompts.items():
            front = f"---\n{_WORDS.get(prompt.kind, 'predictor')}: {json.dumps(name)}\n---\n"
            write_whole(folder / f"{stems[name]}.md", f"{front}{prompt.instruction}\n")
            demos = folder / f"{stems[name]}.demos.jsonl"
            if prompt.demos:
                write_whole(demos, "".join(_json_line(demo.to_json()) for demo in prompt.demos))
            else:
                demos.unlink(missing_ok=True)
        _save_images(folder / IMAGES, prompts)
        # Last, so that a directory with an index is a complete one.
        write_whole(folder / _INDEX, json.dumps(_index(prompts, fingerprints), indent=2) + "\n")
    except OSError as error:
        raise CandidateError(f"cannot save a candidate in {folder}: {error.strerror or error}") from error
    except (TypeError, ValueError, DataError) as error:
        raise CandidateError(f"cannot save a candidate in {folder}: {error}") from error


def load_prompts(directory: str | os.PathLike[str]) -> tuple[dict[str, Prompt], dict[str, str]]:
    """Read a candidate's prompts and fingerprints from a directory, edits by hand included.

    Of a study's directory, the prompts that it recommends are read.

    Raises:
        CandidateError: a file is missing or malformed, or of a newer version; the message names it.
    """
    folder = Path(directory)
    if not (folder / _INDEX).exists() and (folder / "prompts" / _INDEX).exists():
        folder = folder / "prompts"
    index = _read_index(folder / _INDEX)
    images = _load_images(folder / IMAGES)
    stems = file_stems(index)
    prompts = {}
    for name, entry in index.items():
        instruction = _instruction(_read(folder / f"{stems[name]}.md"))
        demos = folder / f"{stems[name]}.demos.jsonl"
        expected = bool(entry.get("demos")) or demos.exists()
        try:
            kind = Kind(entry.get("kind", Kind.PROMPT))
        except ValueError as error:
            raise CandidateError(f"{folder / _INDEX}: {name!r} is of a kind that is not known: {error}") from error
        prompts[name] = Prompt(instruction, _read_demos(demos) if expected else (), kind)
    del images  # the demos hold theirs
    fingerprints = {name: entry["fingerprint"] for name, entry in index.items() if entry.get("fingerprint")}
    return prompts, fingerprints


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """Return a file name without its ending for each component; none leaves the directory, no two meet."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        stem = re.sub(r"[^A-Za-z0-9._-]", lambda m: "".join(f"%{b:02X}" for b in _bytes(m.group())), name)
        if stem.startswith("."):
            stem = f"%2E{stem[1:]}"
        # Some file systems do not tell capitals apart, and none takes names of any length.
        if not stem or len(stem) > 100 or stem.casefold() in taken:
            stem = f"{stem[:80]}-{hashlib.sha256(_bytes(name)).hexdigest()[:12]}"
        taken.add(stem.casefold())
        stems[name] = stem
    return stems


def _save_images(folder: Path, prompts: Mapping[str, Prompt]) -> None:
    """Write the images of demos, each once, under the name of its hash."""
    for sha256 in {one for prompt in prompts.values() for demo in prompt.demos for one in hashes_in(demo.inputs)}:
        folder.mkdir(exist_ok=True)
        image = Image.of({"image": sha256})
        (folder / image.file_name).write_bytes(image.content)


def _load_images(folder: Path) -> list[Image]:
    """Return the images of a candidate's demos, which are known as long as somebody holds them."""
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return [Image(file.read_text(encoding="utf-8") if file.suffix == ".url" else file) for file in files]


def _bytes(text: str) -> bytes:
    # Half a surrogate pair cannot be written as UTF-8, but a model may write one all the same.
    return text.encode("utf-8", "surrogatepass")


def _index(prompts: Mapping[str, Prompt], fingerprints: Mapping[str, str]) -> dict[str, Any]:
    return {
        "luthier_candidate": VERSION,
        "predictors": {
            name: {
                **({} if prompt.kind is Kind.PROMPT else {"kind": prompt.kind.value}),
                "fingerprint": fingerprints.get(name),
                "demos": len(prompt.demos),
            }
            for name, prompt in prompts.items()
        },
    }


def _read_index(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        data = json.loads(_read(path))
        version = data["luthier_candidate"]
        predictors = data["predictors"]
        if not isinstance(version, int) or not all(isinstance(entry, dict) for entry in predictors.values()):
            raise TypeError("its entries are not objects")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CandidateError(f"{path} is not the index of a candidate: {error!r}") from error
    if version > VERSION:
        raise CandidateError(f"{path} was written by a newer luthier (version {version}; this one reads {VERSION})")
    return dict(predictors)


def _instruction(text: str) -> str:
    text = text.removeprefix("\ufeff")
    front = _FRONT.match(text)
    body = text if front is None else text[front.end() :]
    if front is not None and front.group(1) == "\r\n":
        # We write LF, so an editor or a checkout has turned every line end of the file.
        body = body.replace("\r\n", "\n")
    return body.removesuffix("\n")


def _read_demos(path: Path) -> tuple[Demo, ...]:
    demos = []
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            demos.append(Demo.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CandidateError(f"{path}, line {number}, is no demo: {error!r}") from error
    return tuple(demos)


def _json_line(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogatepass")
    except OSError as error:
        raise CandidateError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CandidateError(f"{path} is not UTF-8: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file that no reader ever meets half-written."""
    # Bytes, so that no platform turns line ends; a rename, so that no reader meets half a file.
    half = path.with_name(f"{path.name}.tmp")
    half.write_bytes(_bytes(text))
    os.replace(half, path)
