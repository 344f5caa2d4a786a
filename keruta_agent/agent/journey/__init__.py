"""One task's life, one stage a module; run.py is its biography."""
