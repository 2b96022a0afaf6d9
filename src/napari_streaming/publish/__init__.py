"""Sending: the Publisher, its sinks and their queues. No Qt, no napari, never blocking."""
