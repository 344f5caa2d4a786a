"""The files that a model may see, and its changes to them."""
