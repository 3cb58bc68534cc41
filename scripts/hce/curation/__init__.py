"""Which cells a run uses: types, genes, new studies, and the split of the donors."""
