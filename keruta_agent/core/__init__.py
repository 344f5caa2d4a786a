"""What all three products stand on: errors, model, settings, log, redaction, processes."""
