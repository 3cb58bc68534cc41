"""Users' files of cells: finding the counts, and matching the genes."""
