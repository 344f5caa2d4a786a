"""Who git says it is, and whom it trusts."""
