"""Golem's Task API: applications, and the driver that computes a task over many nodes."""
