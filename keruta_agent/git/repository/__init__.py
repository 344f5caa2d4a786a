"""A repository on this machine: its directory, its ``.git``, its notes, mirrors and upkeep."""
