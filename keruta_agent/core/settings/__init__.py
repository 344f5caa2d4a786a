"""Settings: one schema, four sources, and where each value came from."""
