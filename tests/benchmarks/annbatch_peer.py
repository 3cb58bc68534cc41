"""The peer of bench_streaming.py; runs in an environment of its own, where annbatch is.

    python annbatch_peer.py ARRAYS.npz FOLDER BATCH CHUNK CHUNKS

Writes the cells as an annbatch collection, says how many bytes its counts take, and then reads one
epoch for each line of standard input and answers with its cells and CPU seconds.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
import zarrs  # noqa: F401  registers its codecs
from annbatch import DatasetCollection, Loader

warnings.simplefilter("ignore")
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
arrays, folder = np.load(sys.argv[1]), Path(sys.argv[2])
batch, chunk, chunks = map(int, sys.argv[3:])
shape = (len(arrays["indptr"]) - 1, int(arrays["n_genes"]))
values, genes = arrays["values"].astype(np.float32), arrays["genes"].astype(np.int32)
matrix = sp.csr_matrix((values, genes, arrays["indptr"]), shape=shape)
obs = pd.DataFrame({"label": np.zeros(shape[0])}, index=[str(i) for i in range(shape[0])])
anndata.AnnData(matrix, obs).write_h5ad(folder / "cells.h5ad")
collection = folder / "collection.zarr"
DatasetCollection(collection).add_adatas([folder / "cells.h5ad"], rng=np.random.default_rng(0))
# Processor time on one core: what the parent compares with.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
files = [path for path in collection.glob("*/X/**/*") if path.is_file()]
print("size", sum(path.stat().st_size for path in files), flush=True)
for line in sys.stdin:
    rng = np.random.default_rng(int(line))
    options = {"chunk_size": chunk, "preload_nchunks": chunks, "batch_size": batch}
    loader = Loader(shuffle=True, drop_last=True, rng=rng, **options)
    loader.use_collection(DatasetCollection(collection, mode="r"))
    start = time.process_time()
    cells = 0
    for part in loader:
        cells += part["X"].shape[0]
    kind = f"{part['X'].dtype}/{part['X'].indices.dtype}"
    print("epoch", cells, time.process_time() - start, kind, flush=True)
