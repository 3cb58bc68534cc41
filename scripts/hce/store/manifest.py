"""What a store says of itself, without reading a count: for planning, and before loading."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hce import checksums
from hce.errors import UserError

FORMAT = 2
MANIFEST = "manifest.json"
# What every manifest says.
ENTRIES = ("cells", "nonzeros", "values", "provenance", "shards", "genes")
# A gene and a count of 16 bits each; normalised values take 32.
NONZERO_BYTES = {"counts": 4, "log1p_cp10k": 6}
# Where the cell begins.
CELL_BYTES = 8


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads the manifest of a store.

    Raises:
        UserError: there is no complete store in the folder, one of another format, or its manifest
            is not as it was written.
    """
    checksums.verify(Path(folder) / MANIFEST, part_of=folder)
    try:
        manifest = dict(json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder} is no complete cell store: {error}.") from error
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{folder} has store format {manifest.get('format')}, not {FORMAT}: delete it and run "
            "Snakemake again, which builds it anew."
        )
    if missing := [key for key in ENTRIES if key not in manifest]:
        raise UserError(
            f"{Path(folder) / MANIFEST} does not say {missing[0]}: delete {folder} and run "
            "Snakemake again, which builds it anew."
        )
    return manifest


def bytes_in_memory(manifest: Mapping[str, Any]) -> int:
    """What the cells of a store take once they are loaded (`CellStore.load`)."""
    nonzeros = NONZERO_BYTES[manifest["values"]] * manifest["nonzeros"]
    return int(CELL_BYTES * (manifest["cells"] + 1) + nonzeros)
