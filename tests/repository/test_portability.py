"""No file uses what Windows or macOS lack without asking for the system first; nothing is run there to see it."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from tests.repository.portability import lacks
from tests.repository.sources import python_files, shown, tree

LACKING = {
    "import fcntl": "fcntl",
    "from resource import getrusage": "resource",
    "def f() -> None:\n    import termios": "termios",
    "import msvcrt": "msvcrt",
    "import os\nos.fork()": "os.fork",
    "import os\nif os.getuid() == 0: ...": "os.getuid",
    "from os import sched_getaffinity": "os.sched_getaffinity",
    "import os\nos.open(p, os.O_RDONLY | os.O_NOFOLLOW)": "os.O_NOFOLLOW",
    "import os\nos.kill(pid, 0)": "os.kill",
    "import os\nos.rename(a, b)": "os.rename",
    "import signal\nchild.send_signal(signal.SIGKILL)": "signal.SIGKILL",
    "import signal\nsignal.signal(signal.SIGHUP, stop)": "signal.SIGHUP",
    "loop.add_signal_handler(number, stop)": "add_signal_handler",
    "import multiprocessing\nmultiprocessing.get_context('fork')": "fork",
    "import subprocess\nsubprocess.Popen(command, preexec_fn=f)": "preexec_fn",
    "import socket\nsocket.socket(socket.AF_UNIX)": "socket.AF_UNIX",
    "Path('/proc/self/fd').iterdir()": "proc/self/fd",
    "open('/dev/null', 'wb')": "dev/null",
    "day.strftime('%-d %B')": "%-d",
    "time.strftime('%s')": "%s",
    "f'{day:%-d %B}'": "%-d",
    "path.read_text()": "encoding",
    "path.write_text(text)": "encoding",
    "path.open('w')": "encoding",
    "open(path)": "encoding",
    "open(path, mode='a')": "encoding",
    "os.fdopen(handle, 'r')": "encoding",
    "tempfile.NamedTemporaryFile('w')": "encoding",
    "try:\n    import fcntl\nexcept ValueError:\n    ...": "fcntl",
    "try:\n    ...\nexcept ImportError:\n    import fcntl": "fcntl",
    "if verbose:\n    import fcntl": "fcntl",
    "if sys.platform == 'win32':\n    note()\nos.kill(pid, 9)": "os.kill",
}

ANYWHERE = [
    "import sys\nif sys.platform == 'win32':\n    import msvcrt\nelse:\n    import fcntl",
    "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None",
    "import os\nif hasattr(os, 'fork'):\n    os.fork()",
    "import os\nn = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()",
    "import os\nos.open(p, os.O_RDWR | getattr(os, 'O_BINARY', 0))",
    "try:\n    loop.add_signal_handler(2, stop)\nexcept NotImplementedError:\n    ...",
    "try:\n    Path('/sys/fs/cgroup/cpu.max').read_text(encoding='ascii')\nexcept (OSError, ValueError):\n    ...",
    "@pytest.mark.skipif(sys.platform == 'win32', reason='signals')\ndef test() -> None:\n    os.kill(pid, 9)",
    "pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')\nos.fork()",
    "def f() -> None:\n    if sys.platform == 'win32':\n        pytest.skip('signals')\n    os.kill(pid, 9)",
    "'''Reads /proc.'''\ndef f() -> None:\n    '''/proc/self'''",
    "child.kill()\nopen(os.devnull, 'rb')\nos.replace(a, b)",
    "day.strftime('%d %B')\n'%-8s' % text\nf'{text:-<8}'",
    "path.read_bytes()\npath.open('rb')\npath.open('w', encoding='utf-8')\nopen(path, 'r+b')\npath.read_text('utf-8')",
    "tempfile.TemporaryFile()\nlm.open()\nbook.open(call)\nopener.open(url, timeout=5)\nurl = 'https://host/proc/x'",
]


@pytest.mark.parametrize("code", LACKING)
def test_what_a_system_lacks_is_found(code: str) -> None:
    assert LACKING[code] in " ".join(lack.what for lack in lacks(ast.parse(dedent(code))))


@pytest.mark.parametrize("code", ANYWHERE)
def test_what_runs_anywhere_and_what_asks_first_is_let_pass(code: str) -> None:
    assert lacks(ast.parse(dedent(code))) == []


def test_nothing_is_used_that_a_system_lacks() -> None:
    found = [
        f"{shown(path)}:{lack.line} {lack.what}"
        for path in python_files("src", "tests", "examples")
        for lack in lacks(tree(path))
    ]
    assert not found, "ask for the system first (sys.platform, hasattr), or use what is everywhere:\n" + "\n".join(
        found
    )
