"""Hierarchical cross-entropy for cell-type annotation: the library of the pipeline.

Usable without Snakemake: `from hce.losses import HierarchicalCrossEntropy`.
"""

__version__ = "0.2.0"
