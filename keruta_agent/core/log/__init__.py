"""What the agent tells about itself: its log, and what it must not tell."""
