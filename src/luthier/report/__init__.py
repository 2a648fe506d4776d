"""From a journal to tables, charts, and prompts side by side."""

from __future__ import annotations

from luthier.report.summary import Summary, summary
from luthier.report.write import write_report

__all__ = ["Summary", "summary", "write_report"]
