"""The Game of Life, computed strip by strip."""
