"""The language model: what it is asked, and what its answers mean."""
