"""A llama.cpp server in a child process: loopback, a free port, a random key, gone with its parent."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from luthier.errors import ConfigError, WeightsError

CHILD = Path(__file__).with_name("child.py")
LOAD_SECONDS = 300.0
"""The longest a model may take to load."""
CLOSE_SECONDS = 5.0
LOG_LINES = 8
"""How much of the server's log an error shows."""
# OpenMP's threads wait for each other by spinning. With the default patience, one busy neighbour on two processors made
# a call take 2.0 s instead of 0.2; so, 0.45; and alone it costs nothing that could be measured.
SPIN = {"GOMP_SPINCOUNT": "2000"}
QUIET, CHATTY = 1, 3
"""llama.cpp's levels: errors alone; a few lines for every request."""


class LocalServer:
    """A running server; ``LocalServer.start`` makes one.

    Attributes:
        base_url: where it answers, ``http://127.0.0.1:PORT/v1``.
        api_key: what it asks for as a bearer token.
        slots: how many prefixes it keeps warm.
        context: tokens all slots share; the most one request may have.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], address: str, api_key: str, *, slots: int, context: int
    ) -> None:
        self.base_url = f"{address}/v1"
        self.api_key = api_key
        self.slots = slots
        self.context = context
        self._process = process

    @classmethod
    def start(
        cls,
        model_path: Path,
        *,
        slots: int = 1,
        context: int = 8192,
        threads: int | None = None,
        log: Path | None = None,
    ) -> LocalServer:
        """Load the weights in a child process and return once it answers.

        Args:
            model_path: a GGUF file.
            slots: how many prefixes are kept warm; a request without ``id_slot`` goes to the one it shares most with.
            context: tokens all slots share.
            threads: None for the processors this process may use.
            log: where the server's log goes; by default only errors are kept, and only while it runs.

        Raises:
            ConfigError: xllamacpp is not installed.
            WeightsError: the weights could not be loaded; the message ends with the last lines of the log.
        """
        require_xllamacpp()
        api_key = secrets.token_urlsafe(24)
        settings = _settings(
            model_path, slots=slots, context=context, threads=threads, api_key=api_key, quiet=log is None
        )
        with tempfile.TemporaryFile() if log is None else log.open("w+b") as log_file:
            process = subprocess.Popen(
                # -P: a script's own folder must not shadow modules of the same names.
                [sys.executable, "-P", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                env={**SPIN, **os.environ},
            )
            try:
                address = _wait_for_address(process, settings)
                _wait_for_health(process, address)
            except BaseException as error:
                _end(process)
                if isinstance(error, _NoAnswer):
                    raise WeightsError(_cannot_load(model_path, error, _tail(log_file))) from None
                raise
        return cls(process, address, api_key, slots=slots, context=context)

    @property
    def alive(self) -> bool:
        """Whether the child process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the child process; calling it again does nothing."""
        _end(self._process)


def require_xllamacpp() -> None:
    """Check that embedded models can run here.

    Raises:
        ConfigError: xllamacpp is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError("embedded models need xllamacpp, which is not installed: pip install 'luthier[local]'")


def usable_processors() -> int:
    """Return how many processors this process may use, a container's quota included."""
    # Threads beyond the quota are throttled, and every step of llama.cpp waits for its slowest thread.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count


class _NoAnswer(Exception):
    """The child process said or did something else than serving."""


def _settings(
    model_path: Path, *, slots: int, context: int, threads: int | None, api_key: str, quiet: bool
) -> dict[str, Any]:
    params = {
        "hostnames": ["127.0.0.1"],
        "port": 0,
        "api_keys": [api_key],
        "cors_origins": "",
        "ui": False,
        "endpoint_slots": False,
        "offline": True,
        # Fits layers to the memory of devices; on processors alone it only loads the model twice.
        "fit_params": False,
        "n_parallel": slots,
        "n_ctx": context,
        # One pool for all slots: prefixes are of very different lengths.
        "kv_unified": True,
        "cache_prompt": True,
        # A short header that two predictors share must not make them fight for one slot.
        "slot_prompt_similarity": 0.5,
        # With these two on, a slot named by ``id_slot`` loses its prefix whenever another one gets a request.
        "cache_idle_slots": False,
        "cache_ram_mib": 0,
        "verbosity": QUIET if quiet else CHATTY,
    }
    return {
        "model": str(model_path),
        "threads": usable_processors() if threads is None else threads,
        "flash_attention": "LLAMA_FLASH_ATTN_TYPE_AUTO",
        "params": params,
    }


def _wait_for_address(process: subprocess.Popen[bytes], settings: dict[str, Any]) -> str:
    lines: list[bytes] = []

    def read() -> None:
        assert process.stdout is not None
        lines.append(process.stdout.readline())

    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
    except OSError as error:
        raise _NoAnswer(f"the server process ended at once ({error})") from error
    # A thread, because a pipe has no time limit of its own on every platform.
    reader = threading.Thread(target=read, name="luthier-local-start", daemon=True)
    reader.start()
    reader.join(LOAD_SECONDS)
    if not lines:
        raise _NoAnswer(f"it was not loaded within {LOAD_SECONDS:.0f} s")
    if not lines[0]:
        raise _NoAnswer(f"the server process ended with code {process.wait(CLOSE_SECONDS)}")
    said = json.loads(lines[0])
    if "error" in said:
        raise _NoAnswer(said["error"])
    return str(said["address"])


def _wait_for_health(process: subprocess.Popen[bytes], address: str) -> None:
    # Loopback must not go through a proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _NoAnswer(f"the server process ended with code {process.returncode}")
        try:
            with opener.open(f"{address}/health", timeout=5.0):
                return
        except urllib.error.HTTPError as error:
            error.close()  # 503: still loading
        except OSError:
            pass  # not listening yet
        time.sleep(0.05)
    raise _NoAnswer(f"it did not answer within {LOAD_SECONDS:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(OSError):  # settings the dead child never read
            process.stdin.close()
    try:
        process.wait(CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LOG_LINES:] if line.strip())


def _cannot_load(path: Path, error: Exception, tail: str) -> str:
    advice = "Check that it is a whole GGUF file, of a kind this xllamacpp knows, and that memory suffices."
    return f"cannot load {path}: {error}. {advice}" + (f" The server's log ends with:\n{tail}" if tail else "")
