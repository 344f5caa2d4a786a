"""Small repositories with one fault each, and models that mend it, or only seem to."""
