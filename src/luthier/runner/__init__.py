"""One study from its configuration to its verdict: plan, steps, choice, verdict; checks and comparisons."""
