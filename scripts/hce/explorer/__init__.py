"""The explorer: one self-contained page on which a person walks the ontology, type by type.

`data` gathers what the page shows, `page` puts it into explorer.html with its style and script.
"""
