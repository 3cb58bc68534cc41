"""Names of the sets of cells that a run divides its releases into."""

# Of the reference release, in the order of their stores.
REFERENCE_SETS = ("train", "val", "id")
# Those that a fit has seen, by training on them or by choosing its epoch: no test of it.
SEEN_SETS = ("train", "val")
