"""Draws figures from tables.

`style` has the style of all figures, `tables` selects rows, and `dag` lays out the types; `bars`,
`changes`, `data_panels` and `subgraph` draw panels; each module `figure_*` puts the panels of one
figure on a page. All numbers come from tables of the run.
"""
