"""One run on disk: its directory, its process, its output."""
