"""Where cells come from when not from a Census: each source writes census-shaped SOMA releases."""
