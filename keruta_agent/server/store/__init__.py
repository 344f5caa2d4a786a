"""What the server keeps: rows, files, and how they change."""
