"""From a journal to tables, charts, and prompts side by side."""
