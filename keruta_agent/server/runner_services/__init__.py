"""The services around the Agent Runner: Task Registry, Repo Pool Manager and Artifact Store."""
