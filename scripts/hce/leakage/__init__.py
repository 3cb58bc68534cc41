"""The leakage audit: whether the cells of new studies were seen in training."""
