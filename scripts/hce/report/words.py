"""The words of a run in its captions: names in place of ids, and what its seeds allow to say."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hce.names import name


def caption_words(config: Mapping[str, Any], types: str | Path) -> dict[str, str]:
    """What the captions in workflow/report say about a run.

    Args:
        config: the resolved config.
        types: table with the columns `cl_id` and `label`, which gives the name of
            `figures.subgraph`; a type that it lacks is called by its id.

    Returns:
        word → text: simulated (for the end of a title), reference, baseline, compared, model,
        subgraph, alpha, interval, tested (what the test over seeds covers).
    """
    statistics, figures = config["statistics"], config["figures"]
    with Path(types).open(encoding="utf-8") as lines:
        labels = {row["cl_id"]: row["label"] for row in csv.DictReader(lines, delimiter="\t")}
    return {
        "simulated": " (simulated data)" if config["data"]["source"] == "simulation" else "",
        "reference": str(config["data"]["reference"]["release"]),
        "baseline": name(statistics["baseline"]),
        "compared": name(statistics["compared"]),
        "model": name(figures["model"]),
        "subgraph": labels.get(figures["subgraph"], figures["subgraph"]),
        "alpha": f"{statistics['alpha']:g}",
        "interval": f"{100 * (1 - statistics['alpha']):g}%",
        "tested": _tested(len(config["fits"]["seeds"])),
    }


def _tested(seeds: int) -> str:
    if seeds < 2:
        return "The run has one seed, so nothing is tested."
    return (
        f"The {seeds} seeds differ in initial weights and in the order of the cells, on the same "
        "data: a significant change exceeds that noise. The test does not cover other donors or "
        "studies, and with few seeds moderate changes are not detected (four seeds and 80 tests "
        "require an absolute t above 15.1)."
    )
