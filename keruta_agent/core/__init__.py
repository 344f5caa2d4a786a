"""The foundation of all three products: errors, model, settings, log, redaction, processes."""
