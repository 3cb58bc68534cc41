"""The Cell Ontology and the hierarchy of the types that a run distinguishes."""

from hce.ontology.hierarchy import Hierarchy, Ontology, describe_terms, read_ontology

__all__ = ["Hierarchy", "Ontology", "describe_terms", "read_ontology"]
