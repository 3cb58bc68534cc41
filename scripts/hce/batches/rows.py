"""Where the rows of dense batches lie in memory."""

import torch
from torch import Tensor

# A GPU's products are several times slower on rows that do not begin at multiples of 16 bytes: so
# many numbers of bfloat16, and twice as much of float32.
ALIGNED = 8


def aligned_rows(n_rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, (n_rows, width), whose rows begin at multiples of 16 bytes; what is between is 0."""
    whole = -(-width // ALIGNED) * ALIGNED
    return torch.zeros(n_rows, whole, dtype=dtype, device=device)[:, :width]
