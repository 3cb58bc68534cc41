"""Selects the cells of a run: types, genes, new studies, and the split of the donors."""
