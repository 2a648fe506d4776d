"""From a study's result to production: other forms of its prompts, each checked, and the way back into your files."""
