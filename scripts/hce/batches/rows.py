"""Where the rows of dense batches lie in memory."""

import torch
from torch import Tensor

# GPUs multiply rows fastest that begin at multiples of 16 bytes (NVIDIA, "Matrix Multiplication
# Background"): 8 numbers of bfloat16, or 4 of float32.
ALIGNED = 8


def aligned_rows(n_rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, (n_rows, width), whose rows begin at multiples of 16 bytes; what is between is 0."""
    whole = -(-width // ALIGNED) * ALIGNED
    return torch.zeros(n_rows, whole, dtype=dtype, device=device)[:, :width]
