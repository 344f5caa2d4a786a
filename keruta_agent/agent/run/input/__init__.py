"""A script that waits for input: detection, prompt and answer."""
