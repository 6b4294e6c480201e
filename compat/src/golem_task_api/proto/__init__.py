"""The generated modules of the wire."""
