"""The processes that keruta starts: how they begin, what is below them, and how all of them end."""
