"""The schema of the server's database, and how earlier ones become it."""
