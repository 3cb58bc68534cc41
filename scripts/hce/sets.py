"""Names of the sets of cells that a run divides its releases into."""

# Sets of the reference release, in the order of their stores.
REFERENCE_SETS = ("train", "val", "id")
# Sets used to train a fit or to choose its epoch, which therefore do not test it.
SEEN_SETS = ("train", "val")
