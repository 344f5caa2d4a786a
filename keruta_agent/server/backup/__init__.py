"""A backup of the embedded server in one file, and the way back from it."""
