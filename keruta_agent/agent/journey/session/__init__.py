"""The session that this workspace serves: which it is, who serves it, and its new tasks."""
