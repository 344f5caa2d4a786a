"""Delivery of what the API is to know: from the records and the files of runs to requests."""
