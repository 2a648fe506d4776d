"""Studies: journal, manifest, steps, and the ask-evaluate-tell loop."""
