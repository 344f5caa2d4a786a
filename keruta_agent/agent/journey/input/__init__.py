"""A script that waits for a person: its question, and the answer."""
