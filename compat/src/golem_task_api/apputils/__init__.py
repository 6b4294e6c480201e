"""Tools of applications."""
