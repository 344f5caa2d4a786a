"""Git: the session's repository at hand, a branch for each task, and the result brought back."""
