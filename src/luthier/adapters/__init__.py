"""Programs written with other frameworks, tuned as they are; nothing here is imported unless it is asked for."""
