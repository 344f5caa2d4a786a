"""What the web pages of server and daemon share: look, languages, logins, live updates."""
