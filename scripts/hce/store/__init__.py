"""Counts of cells, in memory and on disk."""
