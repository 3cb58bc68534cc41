"""The explorer: one self-contained page to browse the ontology, type by type.

`data` collects what the page shows, `page` writes explorer.html with its style and scripts.
"""
