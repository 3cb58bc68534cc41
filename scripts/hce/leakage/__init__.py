"""Whether the cells of new studies were seen in training."""
