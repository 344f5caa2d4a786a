"""Coding tasks as agent and Agent Runner read them: what they say, and what they may name."""
