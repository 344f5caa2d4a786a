"""What test commands say of each of their tests."""
