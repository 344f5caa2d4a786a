"""The server's web pages, one a module; templates and static files are inside."""
