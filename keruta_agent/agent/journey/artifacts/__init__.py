"""Where scripts leave artifacts, and those that they add while they run."""
