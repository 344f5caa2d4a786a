"""The pool of runners: coding tasks wait in the database, and workers on any machine do them."""
