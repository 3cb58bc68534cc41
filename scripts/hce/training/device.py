"""Where tensors live, and in which precision models compute on them."""

import fcntl
import logging
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from hce.batches.split import Expression
from hce.errors import UserError
from hce.jobs.machine import reuse_memory

logger = logging.getLogger(__name__)

# The config's training.precision → type of the expression, from which the products follow.
BATCH_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def prepare_device(
    name: str,
    threads: int,
    precision: str = "tf32",
    deterministic: bool = False,
    *,
    take: bool = True,
) -> torch.device:
    """Chooses the device and sets up the processor; call before any other torch work.

    Gradients of well-classified cells are denormal numbers, on which matrix products run several
    times slower. They are flushed to zero here. The setting belongs to a thread and is inherited
    by the threads that it starts, so it has to precede torch's thread pool.

    Args:
        name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" (one that no other fit of
            this machine uses) or "cuda:N".
        threads: processor threads for torch.
        precision: of products, a key of `BATCH_DTYPES`; TF32 is something that GPUs do.
        deterministic: on a GPU, only algorithms that give the same numbers every time; torch stops
            at an operation that has none. On the CPU all that is used here have.
        take: whether "cuda" takes a GPU; not where it is chosen later, for one process of several.

    Raises:
        UserError: a GPU is asked for where torch sees none.
    """
    reuse_memory()  # for gradients, which are freed and made anew at every step
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # TF32 products on GPUs are what the published code has.
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"training.device is {name}, but torch {torch.__version__} sees no GPU here: set it "
            "to auto or cpu, or install a CUDA build of torch."
        )
    if deterministic and name != "cpu":
        # cuBLAS reads it when it starts; with a fixed workspace its sums have a fixed order.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    return _own_gpu() if name == "cuda" and take else torch.device(name)


# Locks of the GPUs that this process has taken; they are free again when it ends, however it ends.
_taken: list[int] = []


def _own_gpu() -> torch.device:
    """A GPU that no other process of the pipeline uses on this machine.

    A job that is given GPUs sees no others. Where a machine is given as a whole, or none gives
    anything, each process takes the first that is free.
    """
    if torch.cuda.device_count() == 1:
        return torch.device("cuda")
    [(number, _)] = take_gpus(1)
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def take_gpus(wanted: int) -> list[tuple[int, str]]:
    """Keeps GPUs from other processes of the pipeline on this machine, until this process ends.

    Args:
        wanted: how many.

    Returns:
        Number, as torch counts them, and name, for CUDA_VISIBLE_DEVICES, of each. Where too few are
        free, the first of the others are shared; where the machine has too few, they are all.
    """
    count = torch.cuda.device_count()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = seen if len(seen) == count else [str(number) for number in range(count)]
    taken: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for gpu in enumerate(names):
        (taken if len(taken) < wanted and _lock(gpu[1]) else others).append(gpu)
    shared = others[: wanted - len(taken)]
    if shared:
        logger.warning(
            "%d of the %d GPUs of this machine are free, and this fit takes %d: sharing GPU %s "
            "with another fit",
            *(len(taken), count, wanted, ", ".join(name for _, name in shared)),
        )
    return taken + shared


def _lock(name: str) -> bool:
    """Takes a GPU, unless another process has it; its file may be another user's."""
    path = Path(tempfile.gettempdir(), f"hce-gpu-{name.strip().replace('/', '_')}.lock")
    lock = None
    try:
        lock = _open_lock(path)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if lock is not None:
            os.close(lock)
        return False
    _taken.append(lock)
    return True


def _open_lock(path: Path) -> int:
    """Opens a file for reading, which every user may; makes it if it is not there.

    In a folder such as /tmp, Linux lets nobody open another user's file by a call that could also
    make it (fs.protected_regular), so these are two calls.
    """
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        pass
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # made by another process meanwhile
        return os.open(path, os.O_RDONLY)
    os.fchmod(lock, 0o644)  # whatever the umask
    return lock


def compute_logits(model: nn.Module, expression: Expression) -> Tensor:
    """Logits, float32 (B, types), computed in the precision of the expression.

    Of bfloat16 expression the products are bfloat16 and the sums, the weights and the loss
    float32 (torch's autocast).
    """
    reduced = expression.dtype == torch.bfloat16
    with torch.autocast(expression.device.type, torch.bfloat16, enabled=reduced):
        logits: Tensor = model(expression)
    return logits.float()
