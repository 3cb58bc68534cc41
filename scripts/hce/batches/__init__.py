"""Batches of cells for training and prediction, from GPU memory, host memory or disk."""
