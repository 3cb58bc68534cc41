"""The model file: a model that annotates cells, safe to open and independent of the pipeline.

It is a zip file of a JSON header (`model.json`) and NumPy arrays without pickle, so that opening a
file from somebody else runs no code. Fits have their own format (`hce.models.trained_model`); the
rule export_model makes model files of them.
"""

import json
import zipfile
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hce import __version__, checksums
from hce.annotate.cache import SUFFIX, find_model
from hce.annotate.calibration import CALIBRATED, NEW, RELIABILITY, STUDIES
from hce.annotate.novelty import Novelty
from hce.decoding import Decoder
from hce.errors import UserError
from hce.files import atomic_path, check_unpacked, sha256_of
from hce.losses import LOSSES
from hce.models import MODELS
from hce.models.trained_model import TrainedModel, assemble
from hce.ontology.hierarchy import check_reachability
from hce.ontology.terms import Terms
from hce.registry import check_class

FORMAT = 4
HEADER = "model.json"
REACHABILITY = "reachability"
TERMS = "terms"
LOG_SHARES = "log_shares"
PANEL = "panel"
SCORES = ["set", "decoder", "score", "value"]
# A fixed date, so that the same model gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Annotator:
    """A trained model, its calibrated precision and its scores.

    Attributes:
        trained: the model with its genes, types and hierarchy.
        calibrated_precision: one row per requested precision: asked, threshold (of the back-off;
            missing where the model does not reach that precision), basis, units and lower; see
            `calibration.calibrate`.
        scores: set, decoder, score, value of this fit in its run.
        fingerprint: first digits of the file's SHA-256, empty before it is written.
        terms: what the back-off may answer; None: the types alone.
        reliability: what may be relied on, see `calibration.reliability`.
        decoder: the rule that chooses the type of a cell, see `hce.decoding`.
        comparison: the models and decoders that this one was chosen from, see `choice`; or empty.
        novelty: how cells of other types are told; None where that is not known.
        panel: the genes that are read, bool (G,), where the calibration is for files that hold
            these alone; None: all.
    """

    trained: TrainedModel
    calibrated_precision: pd.DataFrame
    scores: pd.DataFrame
    fingerprint: str = ""
    terms: Terms | None = None
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    decoder: str = "argmax"
    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    novelty: Novelty | None = None
    panel: np.ndarray | None = None

    @cached_property
    def answers(self) -> Terms:
        """What the back-off may answer."""
        if self.terms is not None:
            return self.terms
        return Terms.only(self.trained.types, self.trained.reachability)

    def calibrated(self, asked: float) -> dict[str, Any]:
        """The row of the calibration for a requested precision, see `threshold`."""
        kept = self.calibrated_precision.dropna(subset="threshold")
        enough = kept[kept["asked"] >= asked - 1e-9]
        if not 0 < asked < 1:
            raise UserError(f"The asked probability is {asked:g}: it must be between 0 and 1.")
        if enough.empty:
            best = f"at most {kept['asked'].max():g}" if len(kept) else "none"
            raise UserError(
                f"The model has no calibrated precision of {asked:g}, its calibration allows "
                f"{best}: ask for less, or annotate without back-off."
            )
        return {str(k): v for k, v in enough.sort_values("asked").iloc[0].items()}

    def threshold(self, asked: float) -> float:
        """The back-off's threshold for a requested precision.

        Between two calibrated precisions the larger one is taken.

        Raises:
            UserError: the request is not between 0 and 1, or above what was calibrated.
        """
        return float(self.calibrated(asked)["threshold"])

    def promise(self, asked: float) -> str:
        """In words, what is known of the back-off at a requested precision, see `threshold`."""
        row = self.calibrated(asked)
        basis = row.get("basis", "")
        text = f"Precision is calibrated to {row['asked']:g} on {row.get('units', 0):,} {basis}"
        if self.panel is not None:
            text += f" with the counts of the panel's {self.panel.sum():,} genes"
        if basis != STUDIES:
            text += f"; there are too few {STUDIES} to promise it for others, where it is lower"
        found = self.reliability
        if len(found):
            found = found[(found["asked"] == row["asked"]) & (found["set"] == NEW)]
        for new in found.to_dict("records"):
            text += (
                f". On {new['studies']:g} new studies, {new['coverage']:.0%} of the cells got an "
                f"answer and {new['right']:.0%} of the decided answers were right, on average"
            )
        return text + "."


def save_annotator(path: str | Path, annotator: Annotator) -> None:
    """Writes a model file, atomically.

    Paths of the data on this machine are left out, so that the file can be shared.
    """
    trained = annotator.trained
    weights = {name: tensor.cpu().numpy() for name, tensor in trained.model.state_dict().items()}
    header = {
        "format": FORMAT,
        "software": f"hce {__version__}, torch {torch.__version__}",
        "model": _spec(trained.provenance["model"]),
        "loss": _spec(trained.provenance["loss"]),
        "weights": list(weights),
        "genes": trained.genes[["feature_id", "feature_name"]].to_dict("list"),
        "types": trained.types[["cl_id", "label"]].to_dict("list"),
        "terms": annotator.answers.table.to_dict("list"),
        "synonyms": annotator.answers.synonyms,
        "withheld": list(annotator.answers.withheld),
        "decoder": annotator.decoder,
        "calibrated_precision": _records(annotator.calibrated_precision),
        "reliability": _records(annotator.reliability),
        "scores": _records(annotator.scores),
        "comparison": _records(annotator.comparison),
        "provenance": _public(trained.provenance),
        "novelty": None,
    }
    arrays = {REACHABILITY: trained.reachability, TERMS: annotator.answers.reachability}
    if (novelty := annotator.novelty) is not None:
        header["novelty"] = {"threshold": novelty.threshold, "few_genes": novelty.few_genes}
        arrays[LOG_SHARES] = novelty.log_shares.astype(np.float16)
    if annotator.panel is not None:
        arrays[PANEL] = annotator.panel
    arrays |= {f"weights/{i}": array for i, array in enumerate(weights.values())}
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        text = json.dumps(header, indent=1, allow_nan=False, default=str) + "\n"
        archive.writestr(_member(HEADER), text)
        for name, array in arrays.items():
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=True) as member:
                # Not ascontiguousarray, which makes a list of a single number.
                ordered = np.require(array, requirements="C")
                np.lib.format.write_array(member, ordered, allow_pickle=False)


def load_annotator(
    path: str | Path, allow_imports: bool = False, trusted: Container[str] = ()
) -> Annotator:
    """Reads a model file without running code from it.

    Args:
        path: the file, or the name of one in the cache, see `find_model`.
        allow_imports: whether to import classes that are not part of hce, as the file names them;
            only for files from people you trust.
        trusted: names of further classes that may be imported.

    Raises:
        UserError: it is not a model file, is damaged or not what its run wrote, or names a class
            that is not part of hce.
    """
    path = find_model(path)
    checksums.verify(path)
    try:
        check_unpacked(path)
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(HEADER))
            if header["format"] != FORMAT:
                raise UserError(
                    f"Model file {path} has format {header['format']}, and this version reads "
                    f"format {FORMAT}: export it again, with the rule export_model of this version."
                )
            if not allow_imports:
                check_class(path, "model", header["model"]["class"], MODELS, trusted)
                check_class(path, "loss", header["loss"]["class"], LOSSES, trusted)
            trained = _build(archive, header)
            terms = _read_terms(archive, header, len(trained.types))
            novelty = _read_novelty(archive, header, (len(trained.types), len(trained.genes)))
            panel = _read_panel(archive, len(trained.genes))
            Decoder.named(header["decoder"])
        calibrated = _table(header, "calibrated_precision", CALIBRATED)
        calibrated = calibrated.astype({"asked": float, "threshold": float})
        reliability = _table(header, "reliability", RELIABILITY)
        scores = _table(header, "scores", SCORES)
        comparison = pd.DataFrame(header["comparison"])
    except UserError:
        raise
    except Exception as error:  # reading raises whatever its input provokes
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(
            f"{path} is not a model file ({reason:.200}): give one that the rule export_model "
            f"wrote, results/<run>/models/…{SUFFIX}."
        ) from error
    return Annotator(
        trained,
        calibrated,
        scores,
        sha256_of(path)[:16],
        terms,
        reliability,
        header["decoder"],
        comparison,
        novelty,
        panel,
    )


def _table(header: Mapping[str, Any], name: str, columns: list[str]) -> pd.DataFrame:
    """A table of a file; with these columns where it has no rows."""
    return pd.DataFrame(header[name], columns=None if header[name] else columns)


def _read_terms(archive: zipfile.ZipFile, header: Mapping[str, Any], n_types: int) -> Terms:
    """The terms of a file, checked to be the types and others."""
    table, reachability = pd.DataFrame(header["terms"]), _array(archive, TERMS)
    check_reachability(reachability, len(table))
    if table["cl_id"].tolist()[:n_types] != list(header["types"]["cl_id"]):
        raise ValueError("its terms do not begin with its types")
    withheld = tuple(int(position) for position in header["withheld"])
    if not all(0 <= position < len(table) for position in withheld):
        raise ValueError("it withholds terms that it does not have")
    synonyms = {str(term): dict(names) for term, names in header["synonyms"].items()}
    return Terms(table.astype({"depth": int}), reachability, n_types, withheld, synonyms)


def _read_novelty(
    archive: zipfile.ZipFile, header: Mapping[str, Any], shape: tuple[int, int]
) -> Novelty | None:
    """How a file tells cells of other types, checked to be about its types and genes."""
    if header["novelty"] is None:
        return None
    log_shares = _array(archive, LOG_SHARES)
    if log_shares.shape != shape or not (log_shares <= 0).all():
        raise ValueError("its shares of genes are not those of its types and genes")
    thresholds = header["novelty"]
    return Novelty(
        log_shares.astype(np.float32),
        float(thresholds["threshold"]),
        int(thresholds["few_genes"]),
    )


def _read_panel(archive: zipfile.ZipFile, n_genes: int) -> np.ndarray | None:
    """The genes of a file's panel, if it has one."""
    if f"{PANEL}.npy" not in archive.namelist():
        return None
    panel = _array(archive, PANEL)
    if panel.dtype != bool or panel.shape != (n_genes,) or not panel.any():
        raise ValueError("its panel is not one of its genes")
    return panel


def _build(archive: zipfile.ZipFile, header: Mapping[str, Any]) -> TrainedModel:
    weights = {
        name: torch.from_numpy(_array(archive, f"weights/{i}"))
        for i, name in enumerate(header["weights"])
    }
    return assemble(
        header["model"],
        header["loss"],
        weights,
        pd.DataFrame(header["genes"]),
        pd.DataFrame(header["types"]),
        _array(archive, REACHABILITY),
        header["provenance"],
    )


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # its checksum is compared where it ends
            raise ValueError(f"{name} is longer than it says")
    return array


def _public(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance without the location of the data, unless that is a network address."""
    data = dict(provenance.get("data", {}))
    if "://" not in str(data.get("uri", "")) or str(data["uri"]).startswith("file:"):
        data.pop("uri", None)
    return {**provenance, "data": data}


def _spec(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"class": entry["class"], "arguments": dict(entry["arguments"])}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values; missing ones are null."""
    records: list[dict[str, Any]] = [
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]
    return records


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
