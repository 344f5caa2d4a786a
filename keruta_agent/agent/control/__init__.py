"""What people and scripts ask of the agent: one table of commands behind every interface."""
