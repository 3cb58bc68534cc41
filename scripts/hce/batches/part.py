"""Which cells a process holds, of those that train one fit together."""

from dataclasses import dataclass

import numpy as np

from hce.store.cell_store import SHARD_CELLS

# At least so many blocks, so that every seed divides a small set differently.
BLOCKS = 64


@dataclass(frozen=True)
class Part:
    """One process's part of the cells of a set; by default all of them.

    The set is cut into blocks, which are put into an order by the seed and divided among the
    processes. Stores are shuffled, so that blocks are as random as single cells would be, and a
    block of a large set is a shard, so that each is read by one process and not by all.

    Attributes:
        rank: number of the process.
        world_size: number of processes.
        seed: of the fit.
    """

    rank: int = 0
    world_size: int = 1
    seed: int = 0

    def of_batch(self, batch_size: int) -> int:
        """Cells of a batch that are this process's."""
        return batch_size // self.world_size

    def cells(self, n_cells: int) -> np.ndarray:
        """Positions in the store, ascending, int64; the sizes of parts differ by one at most."""
        size = max(min(SHARD_CELLS, n_cells // BLOCKS), 1)
        blocks = np.split(np.arange(n_cells), np.arange(size, n_cells, size))
        order = np.random.default_rng(self.seed).permutation(len(blocks))
        cells = np.concatenate([blocks[block] for block in order])
        return np.sort(np.array_split(cells, self.world_size)[self.rank])

    def random(self, rng: np.random.Generator) -> np.random.Generator:
        """What the process draws from, given what all of them start with.

        If all drew the same, the cells at a place of their parts would meet in every epoch.
        """
        return rng if self.world_size == 1 else rng.spawn(self.world_size)[self.rank]


WHOLE = Part()
