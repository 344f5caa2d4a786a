"""Files that a run leaves: found in its directory, copied, hashed, and what kind they are."""
