"""Kubernetes as an engine: containers are pods; the only place that knows its words."""
