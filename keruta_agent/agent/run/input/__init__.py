"""A script that waits for input: how that is seen, what it asks, and how it is answered."""
