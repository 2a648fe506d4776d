"""A check: what there is to win, looked at before a study is paid for."""
