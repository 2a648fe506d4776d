"""What Windows or macOS lack, found in the text of a Python file where nothing around it asks for the system."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_MODULES = {
    *("crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog"),
    *("termios", "tty", "_winapi", "msvcrt", "nt", "winreg", "winsound"),
}
_ATTRIBUTES = {
    "os": {
        *("chown", "chroot", "confstr", "ctermid", "eventfd", "fchmod", "fchown", "fork", "forkpty", "getegid"),
        *("geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getsid", "getuid"),
        *("kill", "killpg", "lchown", "memfd_create", "mkfifo", "mknod", "nice", "openpty", "posix_fadvise"),
        *("posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork"),
        *("rename", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setgid", "setpgid", "setsid"),
        *("setuid", "statvfs", "symlink", "sync", "sysconf", "ttyname", "uname", "wait", "wait3", "wait4", "writev"),
        *("WNOHANG", "O_CLOEXEC", "O_DIRECT", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"),
        *("O_SYNC", "O_BINARY", "O_TEMPORARY", "startfile"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGTTIN"),
        *("SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGWINCH", "alarm", "pause", "pthread_kill", "pthread_sigmask"),
        *("setitimer", "siginterrupt", "sigwait", "CTRL_BREAK_EVENT", "CTRL_C_EVENT"),
    },
    "socket": {"AF_UNIX", "SO_REUSEPORT", "sethostname"},
    "select": {"epoll", "kevent", "kqueue", "poll"},
    "time": {"clock_gettime", "clock_settime", "tzset"},
    "asyncio": {"open_unix_connection", "start_unix_server"},
}
_METHODS = {"add_signal_handler", "create_unix_connection", "create_unix_server", "hardlink_to", "symlink_to"}
_KEYWORDS = {"creationflags", "pass_fds", "preexec_fn", "startupinfo"}
_CHOOSE_A_START = {"get_context", "set_start_method"}
_FOLDER = re.compile(r"/(proc|dev|sys)(/|$)")
_DATE = re.compile(r"%[-_^#][a-zA-Z]|%[klPs]")
"""Flags and letters of glibc; ``%-8s`` of ``"%-8s" % text`` is none."""

_TEXT_MODE = re.compile("[rwax+t]+")

_SYSTEM = re.compile(r"sys\.platform|os\.name\b|platform\.system|\bhasattr\(")


@dataclass(frozen=True)
class Lack:
    """Something that is not on every system."""

    line: int
    what: str
    error: str
    """What it raises where it is lacking; a handler of that is as good as a question."""


def lacks(module: ast.Module) -> list[Lack]:
    """Return what is used without a question for the system, in the order of the file."""
    marks = [ast.unparse(node) for node in module.body if isinstance(node, ast.Assign)]
    gated = any(mark.startswith("pytestmark = ") and _SYSTEM.search(mark) for mark in marks)
    return [] if gated else list(_below(module))


def _below(node: ast.AST) -> Iterator[Lack]:
    if _asks(node):
        return
    yield from _of(node)
    handled = _handled(node)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from (lack for lack in _below(child) if not (name == "body" and lack.error in handled))
            if _leaves(child):
                break


def _asks(node: ast.AST) -> bool:
    if isinstance(node, ast.If | ast.IfExp):
        return _SYSTEM.search(ast.unparse(node.test)) is not None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return any(_SYSTEM.search(ast.unparse(decorator)) for decorator in node.decorator_list)
    return False


def _leaves(node: object) -> bool:
    """Whether what follows is reached on some systems only."""
    if not isinstance(node, ast.If) or not _asks(node):
        return False
    last = node.body[-1]
    return isinstance(last, ast.Return | ast.Raise) or ast.unparse(last).startswith("pytest.skip(")


def _handled(node: ast.AST) -> set[str]:
    """The errors that the handlers of a ``try`` catch."""
    if not isinstance(node, ast.Try):
        return set()
    caught = [handler.type for handler in node.handlers if handler.type is not None]
    return {name.id for kind in caught for name in ast.walk(kind) if isinstance(name, ast.Name)}


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _of(node: ast.AST) -> Iterator[Lack]:
    match node:
        case ast.Import(names=names):
            yield from _modules(node, [alias.name for alias in names])
        case ast.ImportFrom(module=str(module), names=names):
            yield from _modules(node, [module])
            found = _ATTRIBUTES.get(module, set())
            yield from (Lack(node.lineno, f"{module}.{a.name}", "ImportError") for a in names if a.name in found)
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in _ATTRIBUTES.get(module, ()):
            yield Lack(node.lineno, f"{module}.{name}", "AttributeError")
        case ast.Attribute(attr=name) if name in _METHODS:
            yield Lack(node.lineno, f".{name}", "NotImplementedError")
        case ast.Constant(value=str(text)) if _FOLDER.match(text):
            yield Lack(node.lineno, text, "OSError")
        case ast.FormattedValue(format_spec=ast.JoinedStr() as spec) if _DATE.search(ast.unparse(spec)):
            yield Lack(node.lineno, ast.unparse(spec), "ValueError")
        case ast.Call():
            yield from _of_call(node)


def _modules(node: ast.Import | ast.ImportFrom, names: list[str]) -> Iterator[Lack]:
    yield from (Lack(node.lineno, f"import {name}", "ImportError") for name in names if name.split(".")[0] in _MODULES)


def _of_call(call: ast.Call) -> Iterator[Lack]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "strftime" and any(isinstance(text, str) and _DATE.search(text) for text in texts):
        yield Lack(call.lineno, f"{name}({texts[0]!r})", "ValueError")
    if name in _CHOOSE_A_START and {"fork", "forkserver"} & set(texts):
        yield Lack(call.lineno, f"{name}({texts[0]!r})", "ValueError")
    yield from (Lack(call.lineno, f"{name}({key}=…)", "ValueError") for key in keywords if key in _KEYWORDS)
    if "encoding" not in keywords and _is_text(call, name, keywords.get("mode")):
        yield Lack(call.lineno, f"{name}() of text without encoding=", "UnicodeError")


def _is_text(call: ast.Call, name: str, mode: ast.expr | None) -> bool:
    """Whether a call opens, reads or writes a file of text, as far as its form tells."""
    if name in ("read_text", "write_text"):
        return len(call.args) <= (name == "write_text")
    if name not in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        return False
    at = 1 if name == "fdopen" or isinstance(call.func, ast.Name) else 0  # path.open(mode), open(path, mode)
    if mode is None and len(call.args) > at:
        mode = call.args[at]
    if mode is None:
        return name == "open" and isinstance(call.func, ast.Name)
    return isinstance(mode, ast.Constant) and _TEXT_MODE.fullmatch(str(mode.value)) is not None
