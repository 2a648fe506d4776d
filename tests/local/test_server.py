"""The server process: started, told its key in private, and never left behind. llama.cpp is played by a double."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import ConfigError, WeightsError
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.lm import LM
from luthier.lm.local import LocalServer, close_servers, local_server
from luthier.lm.local import server as server_module
from luthier.lm.local.catalogue import LocalModel
from luthier.lm.request import Request
from luthier.types import Endpoint, Role

DOUBLE = """
import http.server, json, os, sys, threading, types

class llama_flash_attn_type:
    LLAMA_FLASH_ATTN_TYPE_AUTO = -1

class CommonParams:
    def __init__(self):
        self.model = types.SimpleNamespace(path="")
        self.cpuparams = types.SimpleNamespace(n_threads=-1)
        self.cpuparams_batch = types.SimpleNamespace(n_threads=-1)
        for name in ("hostnames port api_keys cors_origins ui endpoint_slots offline fit_params n_parallel n_ctx "
                     "kv_unified slot_prompt_similarity cache_prompt cache_idle_slots cache_ram_mib verbosity").split():
            setattr(self, name, None)

class Server:
    def __init__(self, params):
        content = open(params.model.path, "rb").read().decode("latin-1")
        print("loading", params.model.path)
        if content == "damaged":
            print("error: bad GGUF", file=sys.stderr)
            raise RuntimeError("Failed to init server")
        if content == "fatal":
            os.write(2, b"GGML_ASSERT failed\\n")
            os.abort()
        seen = dict(vars(params), threads=params.cpuparams.n_threads, model=None, cpuparams=None, cpuparams_batch=None)
        seen["spin"] = os.environ["GOMP_SPINCOUNT"]
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(seen).encode())
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
                usage = {"prompt_tokens": 1, "completion_tokens": 1}
                self.wfile.write(json.dumps({"choices": [{"text": str(os.getpid())}], "usage": usage}).encode())
            def log_message(self, *args):
                pass
        self.http = http.server.ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        self.listening_address = "http://127.0.0.1:%d" % self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
"""


@pytest.fixture(autouse=True)
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "double"
    folder.mkdir()
    (folder / "xllamacpp.py").write_text(DOUBLE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield
    close_servers()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_text("whole", encoding="utf-8")
    return path


def health(server: LocalServer) -> dict[str, Any]:
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/health") as answer:
        return dict(json.load(answer))


def gone(pid: int, seconds: float = 5.0) -> bool:
    if sys.platform == "win32":
        pytest.skip("signal 0 ends a process there")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # An orphan in a container without an init stays a zombie: it runs no longer, which is what matters.
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_it_serves_on_loopback_with_a_key_and_no_cors(model: Path) -> None:
    server = LocalServer.start(model, slots=3, context=6000, threads=1)
    try:
        seen = health(server)
    finally:
        server.close()
    assert server.base_url.startswith("http://127.0.0.1:")
    assert seen["hostnames"] == ["127.0.0.1"]
    assert seen["api_keys"] == [server.api_key]
    assert seen["cors_origins"] == ""
    assert (seen["n_parallel"], seen["n_ctx"], seen["threads"]) == (3, 6000, 1)
    assert seen["kv_unified"] and seen["cache_prompt"] and not seen["cache_idle_slots"]


def test_its_threads_spin_briefly_unless_the_user_says_otherwise(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert health(local_server(str(model), slots=1))["spin"] == "2000"
    close_servers()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert health(local_server(str(model), slots=1))["spin"] == "7"


def test_every_server_has_a_key_of_its_own_that_no_process_list_shows(model: Path) -> None:
    first, second = LocalServer.start(model), LocalServer.start(model)
    try:
        assert first.api_key != second.api_key
        assert len(first.api_key) >= 32
        if sys.platform == "linux":
            shown = Path(f"/proc/{first._process.pid}")
            assert first.api_key.encode() not in (shown / "cmdline").read_bytes() + (shown / "environ").read_bytes()
    finally:
        first.close()
        second.close()


def test_closing_ends_it_and_closing_again_does_nothing(model: Path) -> None:
    server = LocalServer.start(model)
    assert server.alive
    server.close()
    server.close()
    assert not server.alive


@pytest.mark.parametrize(("content", "said"), [("damaged", "bad GGUF"), ("fatal", "GGML_ASSERT failed")])
def test_weights_that_cannot_be_loaded_are_named_with_the_end_of_the_log(model: Path, content: str, said: str) -> None:
    model.write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=rf"(?s)cannot load .*model.gguf: .*Check that it is a whole.*{said}"):
        LocalServer.start(model)


def test_a_log_is_kept_where_asked(model: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    LocalServer.start(model, log=log).close()
    assert "loading" in log.read_text(encoding="utf-8")


def test_a_missing_xllamacpp_says_what_to_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[local\]'"):
        LocalServer.start(model)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[local\]'"):
        local_server(str(model), slots=1)


def test_another_xllamacpp_names_the_parameter_it_lacks(model: Path, tmp_path: Path) -> None:
    (tmp_path / "double" / "xllamacpp.py").write_text(DOUBLE.replace("kv_unified ", ""), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"no parameter 'kv_unified'.*>= 2026.10"):
        LocalServer.start(model)


def test_proxies_of_the_environment_do_not_stand_before_loopback(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    LocalServer.start(model).close()


def test_a_model_that_never_answers_is_given_up(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LOAD_SECONDS", 0.3)
    monkeypatch.setattr(server_module, "CLOSE_SECONDS", 0.3)
    (tmp_path / "double" / "xllamacpp.py").write_text("import time\ntime.sleep(60)", encoding="utf-8")
    with pytest.raises(WeightsError, match="not loaded within 0 s"):
        LocalServer.start(model)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit(0)"])
def test_it_ends_with_its_parent_however_that_ends(model: Path, end: str) -> None:
    source = (
        "import os, sys; from pathlib import Path; from luthier.lm.local import local_server\n"
        f"print(local_server({str(model)!r}, slots=1)._process.pid, flush=True)\n{end}"
    )
    folders = [str(Path(server_module.__file__).parents[3]), os.environ["PYTHONPATH"]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    parent = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=30)
    assert gone(int(parent.stdout)), parent.stderr


class TestRegistry:
    def test_one_server_runs_for_each_file(self, model: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.gguf"
        other.write_text("whole", encoding="utf-8")
        first = local_server(str(model), slots=1)
        assert local_server(f"local/{model}", slots=1) is first
        assert local_server(str(other), slots=1) is not first

    def test_a_running_server_is_kept_when_more_slots_are_asked_for(self, model: Path) -> None:
        first = local_server(str(model), slots=1)
        assert first.slots == 4
        assert local_server(str(model), slots=9) is first

    def test_one_that_died_is_replaced(self, model: Path) -> None:
        first = local_server(str(model), slots=6)
        assert health(first)["n_parallel"] == 6
        first.close()
        second = local_server(str(model), slots=1)
        assert second is not first
        assert second.alive

    @pytest.mark.skipif(os.name != "posix", reason="kills by signal")
    def test_the_call_after_a_killed_server_starts_another(self, model: Path) -> None:
        gateway, lm = Gateway(retry=RetryPolicy(first=0.05)), LM(f"local/{model}")
        pids = []
        for number in range(2):
            asked = Request(endpoint=Endpoint.COMPLETIONS, prompt=f"{number}")
            pids.append(int(gateway.complete_blocking(lm, asked, Role.TASK).text))
            os.kill(pids[-1], signal.SIGKILL)
        assert pids[0] != pids[1]
        gateway.close()

    def test_weights_are_fetched_on_first_use(self, tiny: LocalModel, cache: Path) -> None:
        local_server("tiny", slots=1)
        assert (cache / "tiny.gguf").exists()
