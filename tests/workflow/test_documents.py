"""The commands and the code of the documents do what the documents say.

Every command is in one of three tables: those that run as written, those that are only planned
(with -n added), and those that do not run here, with the reason. Python blocks run as written, all
blocks of a page in one session. YAML blocks are valid configurations.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from documents import Snippet, pages_of, snippets
from hce.config import read_schema, resolve

REPOSITORY = Path(__file__).parents[2]
SNIPPETS = snippets(REPOSITORY)
SECONDS = "takes too long for a test"
CLUSTER = "needs a cluster; tests/slurm runs it where a SLURM can be started"
NETWORK = "installs packages from the network"
CONTAINER = "needs Apptainer and the network"
FETCHED = "needs the network; tests/unit/annotate/test_cache.py fetches from this machine"

MODEL = "--model results/pbmc/models/best.hce"
PBMC4K = "resources/pbmc/h5ad/pbmc4k.h5ad"
RUN = {
    "source .venv/bin/activate",
    "export CONDA_OVERRIDE_CUDA=12.9",
    "hce annotate cells.h5ad --model MODEL.hce --out annotated.h5ad",
    "snakemake results/pbmc/models/best.hce --cores 2 --configfile config/pbmc.yaml",
    "hce models results/pbmc/models/best.hce --types",
    "hce models --card results/pbmc/models/best.hce",
    f"hce annotate {PBMC4K} {MODEL} --out annotated.h5ad --vote author_cell_type",
    f"hce annotate {PBMC4K} {MODEL} --out annotated.h5ad --vote author_cell_type "
    "--report page.html",
    f'hce annotate {PBMC4K} {MODEL} --out types.tsv --types "CD4-positive, alpha-beta T cell" '
    '"B cell" --probability 0.85',
    f'hce explain "natural killer cell" {MODEL} --cells {PBMC4K}',
    f'hce explain "CD4-positive, alpha-beta T cell" {MODEL}',
    "hce store PATH",
    "hce store PATH --verify",
    "hce store PATH --repair",
    "snakemake -n --profile slurm-gpu",
}
RECIPES = (
    *("wider", "study_loss", "linear_only", "eight_seeds", "two_releases"),
    *("other_donors", "monocytes"),
)
DEMO = "snakemake --profile workflow/profiles/local --configfile config/demo.yaml"
# Planned with -n, which tells a wrong option, target, profile or config.
PLANNED = {
    *(f"{DEMO} config/{recipe}.yaml" for recipe in RECIPES),
    "make bench",
    "make data",
    "make data CORES=2",
    "make demo",
    "make docs",
    "make environment",
    "make fuzz",
    "make gpu-check",
    "make help",
    "make lint",
    "make lock",
    "make slurm-check",
    "make slurm-check CONFIG=config/mine.yaml",
    "make test",
    "make test SLURM=1",
    "snakemake --profile slurm-gpu",
    "snakemake --profile slurm-gpu --configfile config/demo.yaml --group-components fit=4 store=4",
    "snakemake --profile slurm-gpu --configfile config/pilot.yaml",
    "snakemake --profile slurm-gpu --configfile config/releases.yaml",
    "snakemake --profile slurm-gpu --configfile config/study_aware.yaml",
    "snakemake --profile workflow/profiles/local",
    "snakemake results/demo/figures/figure_2.pdf --profile workflow/profiles/local "
    "--configfile config/demo.yaml",
    "snakemake --profile workflow/profiles/local --configfile config/mine.yaml",
    "snakemake --profile workflow/profiles/local --configfile config/pbmc.yaml",
    "snakemake --profile workflow/profiles/local --configfile config/pbmc.yaml "
    "config/pbmc_originals.yaml",
    "snakemake --profile workflow/profiles/local --configfile config/pilot.yaml",
    "snakemake resources/atlas/demo/agreement/2023-12-15.tsv --cores 1 "
    "--configfile config/demo.yaml",
}
LOOP = (
    "for study in zheng2017 pbmc3k pbmc4k kang2018; do "
    'sed "s/kang2018/$study/" config/leave_one_out.yaml > results/without_$study.yaml; '
    "snakemake --profile workflow/profiles/local "
    "--configfile config/pbmc.yaml results/without_$study.yaml; done"
)
OTHER_FOLDERS = "tests/workflow/test_from_anywhere.py plans a run from another folder"
NOT_RUN = {
    "mkdir -p results": "belongs to the loop that follows",
    LOOP: "four runs take too long; tests/unit/test_config.py resolves their config",
    "cd /scratch/my-atlas": "has a placeholder; " + OTHER_FOLDERS,
    "snakemake -s ~/hce/Snakefile --configfile my-config.yaml --cores all": OTHER_FOLDERS,
    "snakemake -s PATH/Snakefile --directory X": OTHER_FOLDERS,
    "snakedeploy deploy-workflow ADDRESS-OF-THE-REPOSITORY my-atlas --tag vX.Y.Z": NETWORK,
    "cd my-atlas": NETWORK,
    "snakemake --configfile config/demo.yaml --cores all --software-deployment-method conda": (
        "needs conda and the network"
    ),
    "snakemake --configfile config/published.yaml --cores 2": "needs the paper's checkpoints; "
    "tests/workflow/test_model_files.py makes some",
    "hce models --get https://example.org/models/best.hce": FETCHED,
    "hce models --get best --index https://example.org/models/models.tsv": FETCHED,
    "pre-commit install": "changes the clone",
    ".venv/bin/snakemake": "names a file",
    ".venv/bin/hce": "names a file",
    "PIP_EXTRA_INDEX_URL=ADDRESS TORCH=cu126 make environment": NETWORK,
    "pip install --no-deps -r envs/triton.txt": NETWORK,
    ".venv/bin/python tests/benchmarks/run.py loss_step": SECONDS,
    "python tests/benchmarks/run.py store": SECONDS,
    "python -m hce.training.profiling --store <data>/store/train --model mlp": "has a placeholder; "
    "tests/unit/training/test_profiling.py runs it",
    "tmux new -s hce": "waits for somebody to type",
    "snakemake --profile slurm-gpu --unlock": CLUSTER,
    "scontrol requeue <id>": CLUSTER,
    "sbatch --partition=cpu workflow/profiles/slurm-gpu/head.sh": "needs a cluster; "
    "tests/unit/jobs/test_head.py runs the script",
    "sbatch --test-only": "names an option",
    "srun --partition=gpu --gpus=1 --cpus-per-task=8 --mem=32G --time=15 make gpu-check": (
        "needs a cluster with GPUs"
    ),
    "snakemake data --profile workflow/profiles/local --software-deployment-method conda": (
        "needs conda and the network"
    ),
    "snakemake --touch": "marks results as new",
    "pip install '.[annotate,figures,report]'": NETWORK,
    "srun --partition=gpu --gpus=1 apptainer test --nv envs/hce.sif": "needs a cluster with GPUs",
    "apptainer build envs/hce.sif envs/container.def": CONTAINER,
    'snakemake --software-deployment-method apptainer --apptainer-args "--nv" …': CONTAINER,
    "snakemake --software-deployment-method conda": "needs conda and the network",
    "conda env create -f envs/gpu.yaml": NETWORK,
    "conda activate hce-gpu": NETWORK,
    "pip install '.[annotate]'": NETWORK,
    "pip install --no-deps --no-build-isolation -e .": NETWORK,
    "python3 -m venv .venv": NETWORK,
    ".venv/bin/pip install --no-deps --require-hashes -r envs/lock.txt": NETWORK,
    ".venv/bin/pip install -r envs/torch.txt": NETWORK,
    ".venv/bin/pip install --no-deps --no-build-isolation --editable .": NETWORK,
    "PIP_EXTRA_INDEX_URL=ADDRESS make demo": NETWORK,
    "PYTHON=/path/to/python3.12 make demo": "has a placeholder",
}
# Blocks that are neither commands nor code, by their first words.
DRAWINGS = {
    "ontology ─┐": "the stages",
    "Snakefile  ": "the folders",
    "losses  decoding  metrics": "the rooms of the library",
    "These jobs failed for good:": "output of a command",
    "configfile: ": "a Snakefile of one's own",
    "onstart:": "its end",
}
# What a page's Python takes for granted.
GIVEN = {"README.md": 'import anndata\nadata = anndata.read_h5ad("cells.h5ad")\n'}


def of_kind(kind: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.kind == kind]


COMMANDS = list(dict.fromkeys(snippet.text for snippet in of_kind("shell")))


@pytest.fixture(scope="module")
def pbmc_place(finished_pbmc, real_data, tmp_path_factory):
    """A folder in which the PBMC studies have run, with the files that the documents name."""
    folder = finished_pbmc.copy(tmp_path_factory.mktemp("documents") / "place").folder
    (folder / ".venv").symlink_to(sys.prefix)
    model = folder / "results/pbmc/models/best.hce"
    model.rename(folder / "MODEL.hce")  # a command of the documents makes it again
    (folder / "cells.h5ad").symlink_to(real_data / "pbmc/pbmc4k.h5ad")
    (folder / "path").mkdir()
    (folder / "path/to").symlink_to("../resources/pbmc")
    (folder / "resources/pbmc/files").symlink_to("h5ad")
    for snippet in of_kind("yaml"):
        first = snippet.text.splitlines()[0]
        if first.startswith("# config/"):
            (folder / first.removeprefix("# ")).write_text(snippet.text)
    return folder


@pytest.fixture(scope="module")
def demo_place(finished, tmp_path_factory):
    """A folder with the data of the demo, and a store of it called PATH."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "resources/atlas").mkdir(parents=True)
    (folder / "resources/atlas/demo").symlink_to(finished.folder / "resources/atlas/demo")
    (folder / "PATH").symlink_to("resources/atlas/demo/store/ood")
    return folder


def run(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])


def test_every_command_is_run_planned_or_excused_and_every_entry_is_a_command():
    listed = [*RUN, *PLANNED, *NOT_RUN]
    assert len(set(listed)) == len(listed)
    assert set(COMMANDS) == set(listed)
    assert all(NOT_RUN.values())


def test_every_other_block_is_a_known_drawing_and_every_drawing_is_there():
    found = [
        [words for words in DRAWINGS if snippet.text.startswith(words)]
        for snippet in of_kind("text")
    ]
    assert sorted(found) == sorted([words] for words in DRAWINGS)


def test_yaml_blocks_are_valid_configurations():
    schema = read_schema(REPOSITORY / "workflow/schemas/config.schema.yaml")
    for snippet in of_kind("yaml"):
        config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
        update_config(config, yaml.safe_load(snippet.text))
        resolve(config, schema)


def test_links_within_the_documents_lead_to_a_file_and_a_heading():
    pages = pages_of(REPOSITORY)
    headings = {page: {anchor_of(text) for text in headings_of(page)} for page in pages}
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if target.startswith("http"):
                continue
            if not file.exists() or (anchor and file in pages and anchor not in headings[file]):
                broken.append((str(page.relative_to(REPOSITORY)), target))
    assert broken == []


def headings_of(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def anchor_of(heading: str) -> str:
    """The name that a Git host gives a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def where(text: str) -> str:
    """The fixture of the folder in which a command or the Python of a page runs."""
    if text.startswith("make"):
        return "repository"
    return "demo_place" if "PATH" in text or text == "docs/data.md" else "pbmc_place"


def of_table(table: set[str]) -> list[tuple[str, str]]:
    """The commands of a table in the order of the documents, each with its folder."""
    return [(command, where(command)) for command in COMMANDS if command in table]


@pytest.mark.workflow
@pytest.mark.parametrize(("command", "folder"), of_table(RUN))
def test_commands_run_as_written(command, folder, request):
    run(command, request.getfixturevalue(folder))


@pytest.mark.workflow
@pytest.mark.parametrize(("command", "folder"), of_table(PLANNED))
def test_commands_can_be_planned(command, folder, request):
    run(f"{command} -n", request.getfixturevalue(folder))


@pytest.mark.workflow
@pytest.mark.parametrize("page", list(dict.fromkeys(s.page for s in of_kind("python"))))
def test_python_runs_as_written(page, request):
    folder = request.getfixturevalue(where(page))
    blocks = [snippet.text for snippet in of_kind("python") if snippet.page == page]
    (folder / "page.py").write_text(GIVEN.get(page, "") + "\n".join(blocks))
    run("python page.py", folder)


@pytest.mark.workflow
def test_the_page_on_annotation_leaves_the_files_that_it_names(pbmc_place):
    names = ("annotated.h5ad", "page.html", "types.tsv", "for-umap.h5ad")
    assert all((pbmc_place / name).is_file() for name in names)
