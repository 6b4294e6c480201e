"""The driver: a requestor that has a task computed over many provider containers."""
