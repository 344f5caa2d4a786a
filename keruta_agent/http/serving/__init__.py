"""The host: what receives requests and sends answers, and the bounds of what a client may cost."""
