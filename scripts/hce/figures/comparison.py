"""What a run compares: models, losses, and changes from the baseline loss."""

from dataclasses import dataclass

import pandas as pd

from hce.figures import style, tables

# The models of the paper's Supplementary Figures 2 to 4, in its order.
PUBLISHED_MODELS = ("linear", "mlp", "tabnet")


@dataclass(frozen=True)
class Comparison:
    """The models and losses of a run, and the pair of losses that is compared.

    Attributes:
        models: the models, in the order of the fits.
        losses: the losses, the baseline first.
        baseline: the loss that changes refer to.
        compared: the loss whose changes are shown; None if there is no other loss.
        has_ood: whether the run has OOD scores.
    """

    models: tuple[str, ...]
    losses: tuple[str, ...]
    baseline: str
    compared: str | None
    has_ood: bool

    @classmethod
    def of(cls, overall: pd.DataFrame, changes: pd.DataFrame, compared: str) -> "Comparison":
        """Determines the comparison of a run from `overall.tsv` and `type_changes.tsv`.

        Args:
            overall: the table.
            changes: the table, or another one with the column baseline.
            compared: the loss to show; if the run lacks it, the first one after the baseline.
        """
        baseline = tables.baseline_of(changes)
        losses = tables.in_order(overall["loss"], baseline)
        return cls(
            tuple(dict.fromkeys(overall["model"])),
            tuple(losses),
            baseline,
            tables.compared_loss(losses, baseline, compared),
            "ood" in set(overall["set"]),
        )

    @property
    def pair(self) -> list[str]:
        """The baseline and the compared loss, without those that the run lacks."""
        return [loss for loss in (self.baseline, self.compared) if loss in self.losses]

    @property
    def difference(self) -> str:
        """The comparison in words: HCE − CE."""
        return " \N{MINUS SIGN} ".join(map(style.name, reversed(self.pair)))

    def changes(
        self,
        table: pd.DataFrame,
        model: str,
        evaluation_set: str = "ood",
        kind: str = "credited",
    ) -> pd.DataFrame:
        """The rows of a table of changes that a figure of a model shows.

        Changes that are missing (a type or stratum without a score) are left out.

        Args:
            table: `type_changes.tsv`, `stratum_changes.tsv` or `bootstrap.tsv`.
            model: the model.
            evaluation_set: the set.
            kind: of the score, one of `metrics.KINDS`.
        """
        chosen = (
            (table["set"] == evaluation_set)
            & (table["model"] == model)
            & (table["baseline"] == self.baseline)
            & (table["loss"] == self.compared)
            & table["score"].isin([f"{kind}_f1", f"{kind}_macro_f1"])
        )
        return tables.one_decoder(table[chosen & table["change"].notna()])

    def why_absent(self, model: str) -> str:
        """The text for a panel without changes of a model."""
        if not self.has_ood:
            return "The run has no OOD data."
        if self.baseline not in self.losses or len(self.losses) < 2:
            fitted = ", ".join(map(style.name, self.losses))
            return (
                f"Nothing to compare with {style.name(self.baseline)}: the run's losses are "
                f"{fitted}."
            )
        return f"The run has no changes of {style.name(model)} to show."

    def model_at(self, position: int) -> str | None:
        """The model that is shown in the figure of a published model, or None.

        A published model keeps its figure. Other models of the run take the figures of those that
        the run lacks.
        """
        if (published := PUBLISHED_MODELS[position]) in self.models:
            return published
        lacking = [model for model in PUBLISHED_MODELS if model not in self.models]
        others = [model for model in self.models if model not in PUBLISHED_MODELS]
        place = lacking.index(published)
        return others[place] if place < len(others) else None
