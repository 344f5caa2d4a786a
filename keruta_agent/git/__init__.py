"""One driver for git: every clone, fetch, checkout, commit and push of keruta."""
