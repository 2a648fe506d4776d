"""The command line; the only place that prints."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code (see ``luthier.cli.exits``)."""
    from luthier.cli.app import app

    app(prog_name="luthier")
