"""CELLxGENE Census releases: opening them, reading their metadata and streaming their counts."""
