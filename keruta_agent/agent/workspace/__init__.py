"""The session's clone, a branch for each task, and the push of its result."""
