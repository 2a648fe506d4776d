"""Images: values that keys, journals, and demos know by the hash of their bytes alone."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import DataError
from luthier.lm.request import ImagePart, Message

if TYPE_CHECKING:
    from luthier.lm.store import Store

_PREFIX = "image/"
_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_shelf: weakref.WeakValueDictionary[str, Image] = weakref.WeakValueDictionary()
"""The images of this process by hash, as long as somebody holds them: the user, a demo that shows one, or the album of
a study. Keyed by content, so it does not matter who has put one there."""


class Image:
    """An image, as an input of a predictor: a file, bytes, or an address that the LM's server fetches.

    Two images are equal where their bytes are; an ``https:`` address stands for its bytes.

    Args:
        source: a path, bytes, a ``data:`` address, or an ``http(s):`` one.
        media_type: such as ``image/png``; read off the bytes or the name where left out.

    Raises:
        DataError: the file cannot be read, or the ``data:`` address is malformed.
    """

    __slots__ = ("__weakref__", "_first", "media_type", "sha256", "source")

    def __init__(self, source: str | bytes | os.PathLike[str], media_type: str | None = None) -> None:
        name = source if isinstance(source, str) else ""
        if isinstance(source, str) and source.startswith("data:"):
            told, source = _data_address(source)
            media_type = media_type or told
        if isinstance(source, str) and source.startswith(("http://", "https://")):
            content, kept = source.encode(), source
        elif isinstance(source, bytes):
            content, kept = source, ""
        else:
            kept = os.path.abspath(name := os.fspath(source))
            content = _read(Path(kept))
        self.sha256 = hashlib.sha256(content).hexdigest()
        """Of the bytes; of the address where they stay where they are."""
        self.media_type = media_type or _media_type(content, name)
        """Such as ``image/png``."""
        self.source = kept or f"data:{self.media_type};base64,{base64.b64encode(content).decode()}"
        """Where the bytes are: a path, a ``data:`` address, or an ``http(s):`` one."""
        first = _shelf.setdefault(self.sha256, self)
        # The shelf knows one of several equal images: while any of them lives, so does that one.
        self._first = None if first is self else first

    @staticmethod
    def of(value: Any) -> Image:
        """Return the image that a value is or stands for: a path, an address, bytes, or its JSON.

        Raises:
            DataError: it stands for none, or for one whose bytes are not known here.
        """
        if isinstance(value, Image):
            return value
        if isinstance(value, Mapping) and isinstance(value.get("image"), str):
            if (known := _shelf.get(value["image"])) is not None:
                return known
            raise DataError(
                f"the image {value['image']} of a demo is not known here: load the candidate from the directory it was "
                "saved in, which has its images, or make the lt.Image first"
            )
        if isinstance(value, str | bytes | os.PathLike):
            return Image(value)
        raise DataError(f"{value!r:.200} is no image: give a path, an address, bytes, or an lt.Image")

    @property
    def part(self) -> ImagePart:
        """The image as a part of a message."""
        return ImagePart(self.sha256, self.media_type, self._url())

    @property
    def content(self) -> bytes:
        """Its bytes; those of its address where they stay where they are."""
        if self.source.startswith("data:"):
            return _data_address(self.source)[1]
        return self.source.encode() if self.is_remote else self._unchanged(_read(Path(self.source)))

    @property
    def is_remote(self) -> bool:
        """Whether the LM's server fetches it."""
        return self.source.startswith(("http://", "https://"))

    @property
    def file_name(self) -> str:
        """A name for a copy of it."""
        return self.sha256 + (".url" if self.is_remote else f".{self.media_type.partition('/')[2]}")

    def luthier_json(self) -> dict[str, Any]:
        """Return its hash and type."""
        return {"image": self.sha256, "type": self.media_type}

    def _url(self) -> str:
        if self.source.startswith("data:") or self.is_remote:
            return self.source
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"

    def _unchanged(self, content: bytes) -> bytes:
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataError(f"{self.source} has changed since it was first read; a study's images must stay")
        return content

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process of a cluster, where the path may lead nowhere.
        return Image, (self._url(), self.media_type if self.is_remote else None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.sha256 == self.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"<image {self.sha256[:12]}>"


def hashes_in(value: Any) -> Iterator[str]:
    """Return the hashes of all images in a JSON value."""
    if isinstance(value, Mapping):
        if is_image(value):
            yield value["image"]
        for item in value.values():
            yield from hashes_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from hashes_in(item)


def known_images(value: Any) -> tuple[Image, ...]:
    """Return the images in a JSON value that are known here; whoever keeps the value keeps them, too."""
    return tuple(known for sha256 in dict.fromkeys(hashes_in(value)) if (known := _shelf.get(sha256)) is not None)


def is_image(value: Any) -> bool:
    """Whether a JSON value is an image's."""
    return isinstance(value, Mapping) and value.keys() == {"image", "type"}


def without_images(value: Any) -> Any:
    """Return a JSON value as one may write it where images are not to be shown."""
    if is_image(value) or (isinstance(value, str) and value.startswith("data:image/")):
        return "[image]"
    if isinstance(value, Mapping):
        return {name: without_images(item) for name, item in value.items()}
    return [without_images(item) for item in value] if isinstance(value, list | tuple) else value


class Album:
    """Holds the images that were sent as long as it lives, and notes in a store where they are.

    Demos are made of runs, which name images by hash alone, also when the study is resumed.

    Args:
        store: where that is noted; None notes nothing.
        lasting: it lives as long as a service, so it holds nothing.
    """

    def __init__(self, store: Store | None, *, lasting: bool = False) -> None:
        self._store = store
        self._lasting = lasting
        self._held: dict[str, Image | None] = {}
        for sha256, kept in {} if store is None or lasting else store.values(_PREFIX).items():
            self._held[sha256] = None
            with suppress(DataError):  # one that is gone is missed only if a demo shows it
                self._held[sha256] = Image(kept["source"], media_type=kept["type"])

    async def keep(self, messages: Iterable[Message]) -> None:
        """Hold the images in messages, and note where they are."""
        parts = (part for turn in messages if not isinstance(turn.content, str) for part in turn.content)
        for part in parts:
            if self._lasting or not isinstance(part, ImagePart) or part.sha256 in self._held:
                continue
            self._held[part.sha256] = None
            with suppress(DataError):  # what stands in a turn that the user made is the user's to know
                # It may have been made by another process of a cluster.
                self._held[part.sha256] = image = _shelf.get(part.sha256) or Image(part.url)
                if self._store is not None:
                    kept = {"source": image.source, "type": image.media_type}
                    await self._store.aset_value(_PREFIX + image.sha256, kept)


def _data_address(address: str) -> tuple[str | None, bytes]:
    head, _, body = address.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("it is not base64")
        return head.removeprefix("data:").removesuffix(";base64") or None, base64.b64decode(body, validate=True)
    except ValueError as error:
        raise DataError(f"{address[:60]}… is no data: address of an image: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the image {path}: {error.strerror or error}") from error


def _media_type(content: bytes, name: str) -> str:
    for magic, media_type in _MAGIC.items():
        if content.startswith(magic):
            return media_type
    return mimetypes.guess_type(name.partition("?")[0])[0] or "image/png"
