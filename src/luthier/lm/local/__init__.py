"""Embedded models: weights fetched and verified, served by llama.cpp in a child process, one for each file."""

from __future__ import annotations

import atexit
import threading
from pathlib import Path

from luthier.lm.local.catalogue import CATALOGUE, DEFAULT, LocalModel, find
from luthier.lm.local.server import LocalServer, require_xllamacpp
from luthier.lm.local.weights import cache_dir, file_identity, find_file, model_path, pull

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "LocalModel",
    "LocalServer",
    "cache_dir",
    "close_servers",
    "find",
    "local_server",
    "model_path",
    "pull",
    "weights_identity",
]

MIN_SLOTS = 4
"""Slots cost nothing until used; with four, the predictors of a usual program keep their prefixes."""
MAX_CONTEXT = 32768
CONTEXT_PER_SLOT = 4096

_servers: dict[Path, LocalServer] = {}
# Guards _servers: two threads that ask for one model at once must get one server.
_lock = threading.Lock()


def local_server(name_or_file: str, *, slots: int = MIN_SLOTS) -> LocalServer:
    """Return this process's server for a model, started on first use; weights are fetched when they are not there.

    A running server is kept as it is, also when more slots are asked for than it has: others hold its address, and
    more prefixes than slots cost time only. One that died is replaced. All end with the process.

    Args:
        name_or_file: a name of the catalogue, or the path of a ``.gguf`` file.
        slots: how many prefixes should stay warm.

    Raises:
        ConfigError: no such model or file, or xllamacpp is not installed.
        WeightsError: the weights could not be fetched, verified, or loaded.
    """
    require_xllamacpp()
    with _lock:
        path = find_file(name_or_file) or pull(_catalogue_name(name_or_file))
        server = _servers.get(path)
        if server is None or not server.alive:
            if server is not None:
                server.close()
            count = max(slots, MIN_SLOTS)
            context = min(MAX_CONTEXT, CONTEXT_PER_SLOT * count)
            _servers[path] = server = LocalServer.start(path, slots=count, context=context)
        return server


def weights_identity(name_or_file: str) -> str:
    """Return ``"local:"`` and the weights' SHA-256: the identity of an embedded model.

    Raises:
        ConfigError: no such model or file.
    """
    path = find_file(name_or_file)
    return f"local:{find(_catalogue_name(name_or_file)).sha256 if path is None else file_identity(path)}"


def close_servers() -> None:
    """End all servers of this process."""
    with _lock:
        while _servers:
            _servers.popitem()[1].close()


def _catalogue_name(name: str) -> str:
    return name.removeprefix("local/")


atexit.register(close_servers)
