"""The resources of the keruta API, one a module."""
