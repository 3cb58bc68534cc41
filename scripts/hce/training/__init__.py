"""Training one model with one loss and one seed."""
