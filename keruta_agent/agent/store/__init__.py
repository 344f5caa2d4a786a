"""The agent's own database, agent.db: jobs, runs and the outbox. It is the truth."""
