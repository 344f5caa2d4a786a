"""What the agent remembers of the API and of itself, for a start while the API is away."""
