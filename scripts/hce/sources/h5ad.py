"""Census-shaped releases from a collection of files of cells.

A manifest has one row per study: its file, the release that it plays, the obs columns of labels and
donors, and a table that maps the authors' labels to Cell Ontology terms, where they are not such
terms already. Files are those that `hce.inputs` reads; genes are matched by name, also where files
are of different years.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.errors import UserError
from hce.inputs.cells import Place, checked_blocks, open_cells
from hce.inputs.counts import choose_counts, find_counts
from hce.inputs.gene_names import ENSEMBL_ID, species_of, without_version
from hce.inputs.genes import are_genes, name_genes
from hce.inputs.renamed import other_symbols
from hce.ontology import Ontology
from hce.sources.labels import DROP, read_table, terms_of
from hce.sources.soma import ASSAYS, Study

logger = logging.getLogger(__name__)

MANIFEST_COLUMNS = ("study", "file", "release", "label_column", "donor_column", "mapping")
# Of these, what may be empty: labels that are terms already need no mapping.
MAY_BE_EMPTY = ("mapping",)
# Optional columns of the manifest and what holds without them.
MANIFEST_DEFAULTS = {
    "layer": "",  # all matrices are compared
    "tissue": "unknown",
    "tissue_general": "",  # the tissue
    "disease": "unknown",
    "assay": "10x 3' transcription profiling",
    "collection": "",  # the study
    "doi": "",
}


@dataclass(frozen=True)
class H5adStudy:
    """A study of the manifest, checked but without its counts.

    Attributes:
        row: its row of the manifest, defaults filled in.
        path: its file.
        layer: name of the matrix that holds its counts.
        kept: positions of the cells that are not mapped to `drop`.
        obs: the curated columns of these cells.
        genes: one row per gene name: name (index), feature_id, column of the matrix; of several
            genes of one name only the first.
    """

    row: Mapping[str, str]
    path: Path
    layer: str
    kept: np.ndarray
    obs: pd.DataFrame
    genes: pd.DataFrame


def read_manifest(
    manifest: str | Path,
    folder: str | Path,
    releases: Sequence[str],
    ontology: Ontology,
    new_study: str | None = None,
) -> list[H5adStudy]:
    """Reads a manifest and all that it names, but the counts.

    Args:
        manifest: TSV with the columns of `MANIFEST_COLUMNS` and any of `MANIFEST_DEFAULTS`;
            mapping tables are looked for beside it.
        folder: where the files lie.
        releases: names of the releases of the run, oldest first.
        ontology: holds the terms that labels are mapped to.
        new_study: the study that the last release adds to the first, which has all others; None
            goes by the manifest's column release.

    Raises:
        UserError: something named does not exist, cannot be read, is duplicated or unmapped.
    """
    manifest = Path(manifest)
    table = read_table(manifest, MANIFEST_COLUMNS, "data.h5ad.manifest in the config")
    known = [*MANIFEST_COLUMNS, *MANIFEST_DEFAULTS]
    if unknown := [column for column in table.columns if column not in known]:
        raise UserError(
            f"Manifest {manifest} has a column {unknown[0]!r}; allowed: {', '.join(known)}."
        )
    if len(twice := table["study"][table["study"].duplicated()]):
        raise UserError(f"Manifest {manifest} names study {twice.iloc[0]} twice: rename one.")
    if new_study is not None:
        if new_study not in set(table["study"]):
            raise UserError(
                f"Manifest {manifest} has no study {new_study}, which data.h5ad.new_study in the "
                f"config names; it has {', '.join(table['study'])}."
            )
        table["release"] = np.where(table["study"] == new_study, releases[-1], releases[0])
    for release in releases:
        if release not in set(table["release"]):
            raise UserError(
                f"Manifest {manifest} has no study of release {release}: add one, or correct "
                "data.reference and data.new in the config."
            )
    studies = []
    for record in table.to_dict("records"):
        row: dict[str, str] = dict(MANIFEST_DEFAULTS)
        row.update({str(key): value for key, value in record.items() if value})
        row["tissue_general"] = row["tissue_general"] or row["tissue"]
        row["collection"] = row["collection"] or row["study"]
        if row["release"] not in releases:
            raise UserError(
                f"Manifest {manifest} gives study {row['study']} release {row['release']!r}, "
                f"which is not one of {', '.join(releases)}: correct it or the config."
            )
        for column in MANIFEST_COLUMNS:
            if not row.get(column) and column not in MAY_BE_EMPTY:
                raise UserError(f"Manifest {manifest} has no {column} for study {row['study']}.")
        studies.append(_read_study(row, manifest, Path(folder), ontology))
    return _with_one_symbol(_with_symbols(studies))


def _with_symbols(studies: Sequence[H5adStudy]) -> list[H5adStudy]:
    """The studies, with the symbols of others in place of names that are Ensembl ids."""
    known: dict[str, str] = {}
    for study in studies:
        pairs = zip(study.genes["feature_id"], study.genes.index, strict=True)
        known |= {i: name for i, name in pairs if species_of(i) and not species_of(name)}
    named = []
    for study in studies:
        names = pd.Index([known.get(without_version(n), n) for n in study.genes.index])
        changed = study.genes.set_axis(names)
        named.append(replace(study, genes=changed[~names.duplicated()]))
    return named


def _with_one_symbol(studies: Sequence[H5adStudy]) -> list[H5adStudy]:
    """The studies, with a human gene that was renamed under the symbol of the first that has it.

    As in an annotation, see `match_genes`: a gene that a study has under that symbol comes first.
    """
    symbols: list[str] = []
    names: dict[str, int] = {}
    ids: dict[str, int] = {}
    named = []
    for study in studies:
        others, own = other_symbols(ids, names), set(study.genes.index)
        changed = {name: symbols[others[name]] for name in own & others.keys()}
        changed = {name: symbol for name, symbol in changed.items() if symbol not in own}
        genes = study.genes.rename(index=changed)
        genes = genes[~genes.index.duplicated()]
        for symbol, gene in zip(genes.index, genes["feature_id"], strict=True):
            if symbol not in names:
                names[symbol] = len(symbols)
                symbols.append(symbol)
            ids.setdefault(gene, names[symbol])
        named.append(replace(study, genes=genes))
    return named


def shared_genes(studies: Sequence[H5adStudy], reference: str) -> pd.DataFrame:
    """The genes that all studies of the reference release have, in the order of the first of them.

    Genes are matched by name. New studies have no say, since a panel of a few genes would leave no
    more of the reference; see `missing_genes`.

    Args:
        studies: the studies of the manifest.
        reference: name of the reference release.

    Returns:
        feature_id (Ensembl ids where a study has them as its var index, else the names),
        feature_name and feature_length (0: unknown).

    Raises:
        UserError: no gene is in all studies of the reference, or none of these in a new study.
    """
    deciding = [study for study in studies if study.row["release"] == reference]
    names = reduce(lambda a, b: a[a.isin(b)], (study.genes.index for study in deciding))
    if len(names) == 0:
        files = ", ".join(str(study.path) for study in deciding)
        raise UserError(
            f"No gene name is in all of {files}: give var a column feature_name with gene symbols."
        )
    for study in studies:
        if not names.isin(study.genes.index).any():
            raise UserError(
                f"File {study.path} has none of the {len(names):,} genes of the reference's "
                "studies: give var a column feature_name with gene symbols."
            )
    ids: Any = names
    for study in studies:
        candidates = study.genes.reindex(names)["feature_id"].fillna("")
        if candidates.str.fullmatch(ENSEMBL_ID).all():
            ids = candidates
            break
    return pd.DataFrame({"feature_id": list(ids), "feature_name": list(names), "feature_length": 0})


def missing_genes(studies: Sequence[H5adStudy], genes: pd.DataFrame, release: str) -> pd.DataFrame:
    """How many of the genes the studies that a release adds do not have; they count as zero there.

    Args:
        studies: the studies of the manifest.
        genes: `shared_genes` of them.
        release: whose studies.

    Returns:
        quantity, value.
    """
    steps = [("genes that the reference's files share", len(genes))]
    for study in studies:
        if study.row["release"] == release:
            missing = int((~genes["feature_name"].isin(study.genes.index)).sum())
            steps.append((f"genes of these that {study.row['study']} lacks", missing))
            if missing:
                logger.warning(
                    "%s lacks %d of the %d genes of the reference's studies: they are zero there.",
                    study.path,
                    missing,
                    len(genes),
                )
    return pd.DataFrame(steps, columns=["quantity", "value"])


def h5ad_release(
    studies: Sequence[H5adStudy], genes: pd.DataFrame, releases: Sequence[str], release: str
) -> Iterator[Study]:
    """Yields the studies of a release and of those before it; one file's counts in memory.

    A gene that a file lacks is zero in all its cells.

    Args:
        studies: the studies of the manifest.
        genes: `shared_genes` of them.
        releases: names of all releases, oldest first.
        release: the one to make.

    Raises:
        UserError: a file's counts are no counts.
    """
    held = set(releases[: releases.index(release) + 1])
    for study in studies:
        if study.row["release"] in held:
            columns = study.genes["column"].reindex(genes["feature_name"]).fillna(-1)
            yield Study(
                dataset_id=study.row["study"],
                title=study.row["study"],
                collection_id=study.row["collection"],
                collection_name=study.row["collection"],
                collection_doi=study.row["doi"],
                obs=study.obs,
                counts=_read_counts(study, columns.to_numpy(np.int64)),
            )


def _take(counts: sp.csr_matrix, columns: np.ndarray) -> sp.csr_matrix:
    """Columns of a matrix, (cells, len(columns)); column -1 is one of zeros."""
    known = np.flatnonzero(columns >= 0)
    found = counts[:, columns[known]]
    return sp.csr_matrix(
        (found.data, known[found.indices], found.indptr), (len(counts.indptr) - 1, len(columns))
    )


def _read_study(
    row: Mapping[str, str], manifest: Path, folder: Path, ontology: Ontology
) -> H5adStudy:
    path = folder / row["file"]
    if not path.exists():
        raise UserError(
            f"File {path} does not exist: correct it in the manifest, or data.h5ad.dir in the "
            "config."
        )
    with open_cells(path) as cells:
        obs, choice = cells.obs, choose_counts(cells, row["layer"] or None)
    logger.info("%s: %s", path, choice.report())
    for axis, index in (("cells", obs.index), ("genes", choice.place.var.index)):
        if index.has_duplicates:
            raise UserError(
                f"File {path} has duplicate {axis}, such as {index[index.duplicated()][0]}: "
                "remove them or make their names unique."
            )
    columns = {key: _column(obs, row[key], path) for key in ("label_column", "donor_column")}
    terms = terms_of(columns["label_column"], row, manifest, path, ontology)
    kept = np.flatnonzero(terms != DROP)
    if not len(kept):
        raise UserError(f"File {path} keeps no cell: all its labels are mapped to {DROP!r}.")
    kept_terms = terms.iloc[kept].to_list()
    logger.info("%s: %d of %d cells kept.", path, len(kept), len(obs))
    return H5adStudy(
        row=row,
        path=path,
        layer=choice.place.name,
        kept=kept,
        obs=pd.DataFrame(
            {
                "assay": row["assay"],
                "assay_ontology_term_id": ASSAYS.get(row["assay"], "unknown"),
                "cell_type": [ontology.names[term] for term in kept_terms],
                "cell_type_ontology_term_id": kept_terms,
                "disease": row["disease"],
                "donor_id": columns["donor_column"].iloc[kept].to_list(),
                "tissue": row["tissue"],
                "tissue_general": row["tissue_general"],
            }
        ),
        genes=_genes(choice.place, path),
    )


def _column(obs: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """A column of obs as text."""
    if column not in obs:
        raise UserError(
            f"File {path} has no obs column {column}; it has {', '.join(map(str, obs))}: correct "
            "the manifest."
        )
    if empty := int(obs[column].isna().sum()):
        raise UserError(
            f"Column {column} of {path} is missing in {empty} cells: fill it in or remove them."
        )
    return obs[column].astype(str)


def _genes(place: Place, path: Path) -> pd.DataFrame:
    """The genes of a matrix by name, see `H5adStudy.genes`; features that are not genes are not."""
    genes = name_genes(place.var).assign(column=np.arange(len(place.var)))
    genes = genes[are_genes(place.var)].set_index("feature_name")
    again = genes.index.duplicated()
    if again.any():
        logger.warning(
            "%s: %d genes share the name of an earlier one and are left out.", path, again.sum()
        )
    return genes[~again]


def _read_counts(study: H5adStudy, columns: np.ndarray) -> sp.csr_matrix:
    """Counts of the kept cells of a file, csr (cells, columns); a block of it in memory besides.

    Args:
        study: whose counts.
        columns: of the matrix, in the wanted order; −1 for a gene that the file lacks.

    Raises:
        UserError: the matrix does not hold counts.
    """
    data, indices, lengths, first = [], [], [], 0
    with open_cells(study.path) as cells:
        for block in checked_blocks(find_counts(cells, study.layer)):
            inside = slice(*np.searchsorted(study.kept, (first, first + block.shape[0])))
            kept = block[study.kept[inside] - first].astype(np.float32)
            part = _take(kept, columns)
            part.eliminate_zeros()
            data.append(part.data)
            indices.append(part.indices.astype(np.int32, copy=False))
            lengths.append(np.diff(part.indptr))
            first += block.shape[0]
    indptr = np.concatenate([[0], *lengths]).cumsum()
    whole = _joined(data), _joined(indices), indptr
    return sp.csr_matrix(whole, shape=(len(study.kept), len(columns)))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The parts as one; they are given up, to have the memory of the next."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole
