"""Sources other than the Census; each writes releases as SOMA in the format of the Census."""
