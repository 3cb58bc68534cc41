"""Where tensors live, and how the processor computes on them."""

import torch

from hce.errors import UserError


def prepare_device(name: str, threads: int) -> torch.device:
    """Chooses the device and sets up the processor; call before any other torch work.

    Gradients of well-classified cells are denormal numbers, on which matrix products run several
    times slower. They are flushed to zero here. The setting belongs to a thread and is inherited
    by the threads that it starts, so it has to precede torch's thread pool.

    Args:
        name: "auto" (the first GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        threads: processor threads for torch.

    Raises:
        UserError: a GPU is asked for where torch sees none.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # TF32 products on GPUs, as in the published code.
    torch.set_float32_matmul_precision("high")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"training.device is {name}, but torch {torch.__version__} sees no GPU here: set it "
            "to auto or cpu, or install a CUDA build of torch."
        )
    return torch.device(name)
