"""The daemon's process: start order, stop order, lock and signals."""
