"""Tables to pictures.

`style` holds what all figures share, `tables` how rows are chosen, `dag` how types are laid out;
`bars`, `changes`, `data_panels` and `subgraph` draw panels; a module `figure_*` puts the panels
of one figure on a page. Everything drawn is in a table of the run.
"""
