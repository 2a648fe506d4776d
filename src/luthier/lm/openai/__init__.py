"""The ``openai`` package: its clients as LMs, and what they send and read."""
