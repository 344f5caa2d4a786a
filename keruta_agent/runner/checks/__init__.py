"""The checks of a change: commands, playbooks and tests, and what they may reach."""
