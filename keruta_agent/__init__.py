"""keruta-agent: runs a session's tasks one at a time in a workspace.

Kept empty on purpose: small commands called in loops from scripts import this package first.
"""

__version__ = "0.2.0"
