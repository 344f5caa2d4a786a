"""What is read of a run while it is followed: output, messages, what it uses."""
