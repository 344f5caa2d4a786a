"""What decides how git behaves: its environment, the user's files, a repository's own."""
