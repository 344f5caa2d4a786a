"""What the embedded server's HTTP API and the daemon's share."""
