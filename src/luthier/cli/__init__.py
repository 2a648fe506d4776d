"""The command line; the only place that prints."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code (see ``luthier.cli.exits``)."""
    from luthier.cli.app import app

    try:
        app(prog_name="luthier")
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            # Python would wait for pools of threads that user code has left behind, and they may never end.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_INTERRUPTED)
        raise
