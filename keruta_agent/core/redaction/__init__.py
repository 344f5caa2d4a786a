"""How secrets are known: by the names of variables, by their values, and by patterns of tokens."""
