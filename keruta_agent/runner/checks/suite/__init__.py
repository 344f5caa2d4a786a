"""What tests a repository: its test files, what configures them, and what the commands run."""
