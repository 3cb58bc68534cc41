"""Models for the tests that can be slow or fail; named in a config as faulty_models:Faulty."""

import time
from pathlib import Path

from torch import Tensor

from hce.models.linear import Linear

# In the folder of the run: the model that fails once has done so.
FAILED = Path("failed_once")


class Faulty(Linear):
    """The linear model with trouble in training; a model without trouble ends in the same weights.

    Args:
        n_genes: width of the input.
        n_types: number of types.
        pause: seconds that a training batch takes longer.
        fails: "never", "once" or "always".
    """

    def __init__(self, n_genes: int, n_types: int, pause: float = 0.0, fails: str = "never"):
        super().__init__(n_genes, n_types)
        self.pause = pause
        self.fails = fails

    def forward(self, expression: Tensor) -> Tensor:
        if self.training:
            time.sleep(self.pause)
            if self.fails == "always" or (self.fails == "once" and not FAILED.exists()):
                if self.fails == "once":
                    FAILED.touch()
                raise RuntimeError("this model fails on purpose")
        return super().forward(expression)
