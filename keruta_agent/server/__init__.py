"""The embedded keruta API: sessions, tasks, logs and artifacts for one person's machine."""
