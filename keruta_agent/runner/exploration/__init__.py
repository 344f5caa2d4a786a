"""What a model is told of a repository that it does not see as a whole."""
