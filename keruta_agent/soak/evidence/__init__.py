"""What agents, scripts, repositories and the machine show of a soak, for the verdict."""
