"""The demo of ``luthier demo``: its program, its data, and its study."""
