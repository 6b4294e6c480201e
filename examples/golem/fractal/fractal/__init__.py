"""A fractal, rendered tile by tile."""
