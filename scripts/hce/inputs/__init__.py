"""Files of cells that people have: which matrix holds counts, and which genes they are of."""
