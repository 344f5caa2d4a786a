"""The way from the old runner: its configuration, variables and code, in the words of this one."""
