"""What the server forgets, and when: nothing, until somebody sets it."""
