"""CELLxGENE Census releases: opening them, reading what they list and streaming their counts."""
