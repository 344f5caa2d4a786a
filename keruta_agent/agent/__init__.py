"""The agent: takes the tasks of its session and runs their scripts, one at a time."""
