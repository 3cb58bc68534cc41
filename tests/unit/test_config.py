import copy
import datetime
from dataclasses import asdict

import pytest
import yaml

from hce.config import check_files, fits_of, read_schema, resolve
from hce.errors import UserError
from hce.sources.simulation_design import SimulationSettings


@pytest.fixture(scope="module")
def schema(repository):
    return read_schema(repository / "workflow/schemas/config.schema.yaml")


@pytest.fixture
def paper(repository):
    return yaml.safe_load((repository / "config/config.yaml").read_text())


CHECKPOINT = {"name": "x", "model": "mlp", "loss": "ce", "path": "x.ckpt"}


def changed(config, path, value):
    result = copy.deepcopy(config)
    *parents, last = path.split(".")
    node = result
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return result


def test_the_papers_config_is_what_the_schema_has_as_default(schema, paper):
    catalogues = {key: paper[key] for key in ("models", "losses")}
    assert resolve(catalogues, schema) == resolve(paper, schema)


def test_the_simulations_defaults_are_those_of_its_settings(schema, paper):
    assert resolve(paper, schema)["data"]["simulation"] == asdict(SimulationSettings())


def test_a_resolved_config_resolves_to_itself(schema, paper):
    once = resolve(paper, schema)
    assert resolve(once, schema) == once


def test_defaults_reach_into_catalogues_and_lists(schema, paper):
    config = changed(paper, "models.linear", {})
    resolved = resolve(config, schema)
    assert resolved["models"]["linear"]["optimizer"] == {"lr": 0.001, "weight_decay": 0.01}
    assert resolve(changed(paper, "data.new", [{"release": "x"}]), schema)["data"]["new"] == [
        {"release": "x", "uri": None}
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("modles", {}, r"no key 'modles' \(did you mean models\?\).*allowed: annotate"),
        ("training.batchsize", 1, r"training has no key 'batchsize' \(did you mean batch_size"),
        ("models.linear.learning_rate", 1, r"models\.linear has no key.*allowed: arguments"),
        ("data.source", "s3", r"data\.source is 's3'; allowed: census, h5ad, sctab, simulation"),
        ("training.batch_size", 0, r"training\.batch_size is wrong: 0 is less than"),
        ("training.batch_size", "many", r"training\.batch_size is wrong: 'many' is not of type"),
        (
            "decoders",
            ["back_off_0.9"],
            r"decoders has none by which .* one of argmax, anc",
        ),
        ("decoders", ["softmax"], r"decoders\.0 is wrong: 'softmax' does not match"),
        ("decoders", ["back_off_1.5"], r"decoders\.0 is wrong: 'back_off_1\.5'"),
        ("decoders", ["back_off_0.90"], r"decoders\.0 is wrong: 'back_off_0\.90'"),
        ("fits.models", ["mlpp"], r"fits\.models names 'mlpp', which is not among models: linear"),
        ("fits.losses", ["bce"], r"fits\.losses names 'bce'.*ce, hce"),
        (
            "fits.also",
            [{"models": ["svm"], "losses": ["ce"]}],
            r"fits\.also\.0\.models names 'svm', which is not among models: linear, mlp",
        ),
        (
            "fits.also",
            [{"models": ["mlp"], "losses": ["bce"]}],
            r"fits\.also\.0\.losses names 'bce', which is not among losses",
        ),
        (
            "fits.also",
            [{"models": ["mlp"], "losses": ["hce_study_permuted"]}],
            r"fits\.also\.0\.losses names 'hce_study_permuted', which uses another reachability",
        ),
        ("figures.model", "svm", r"figures\.model names 'svm'"),
        ("statistics.baseline", "hce_log", r"statistics\.baseline names 'hce_log'.*fits\.losses"),
        (
            "statistics.compared",
            "hse",
            r"statistics\.compared names 'hse'.*losses: ce, ce_eps, hce",
        ),
        ("statistics.compared", "ce", r"statistics\.compared are both 'ce'"),
        ("controls.losses", ["hse"], r"controls\.losses names 'hse'"),
        ("controls.losses", ["hce"], r"controls\.losses names 'hce', which uses the run's hier"),
        ("fits.losses", ["ce", "hce_placebo"], r"fits\.losses names 'hce_placebo', which uses an"),
        ("losses.hce.reachability", "none", r"losses\.hce\.reachability is wrong: 'none'"),
        ("training.monitor", ["test"], r"training\.monitor names 'test'.*id, ood"),
        ("models", {"a/b": {}}, r"models is wrong"),
        ("ontology.release", "2023-05-22", r"ontology\.release is wrong"),
        ("ontology.file", "cl.owl", r"ontology\.file is wrong"),
        (
            "data.reference.release",
            datetime.date(2023, 5, 15),
            r'data\.reference\.release is a date to YAML: put it in quotes, "2023-05-15"',
        ),
        ("data.new", [{"uri": "x"}], r"data\.new\.0 is incomplete: 'release'"),
        ("data.new", [{"release": "2023-05-15"}], "same release twice"),
        ("data.source", "h5ad", r"data\.h5ad\.manifest is needed"),
        ("data.source", "sctab", r"data\.sctab\.archive is needed"),
        ("data.source", "published", r"published names no checkpoint"),
        ("ontology.base_url", "ftp://x", r"ontology\.base_url is wrong"),
        ("run", "a/b", r"run is wrong"),
        ("run", "demo\n", r"run is 'demo\\n': it must be on one line"),
        ("run", "a" * 300, r"run is wrong: 'a+' is too long"),
        ("data.dir", "", r"data\.dir is wrong: '' "),
        ("data.dir", "atlas/{x}", r"data\.dir is 'atlas/\{x\}': leave the braces out"),
        ("data.reference.release", "../../evil", r"data\.reference\.release is wrong: '\.\./"),
        ("data.new", [{"release": "2024|2025"}], r"data\.new\.0\.release is wrong: '2024\|2025'"),
        ("data.new", [{"release": "20{24}"}], r"data\.new\.0\.release is '20\{24\}'"),
        ("fits.seeds", [2**32], r"fits\.seeds\.0 is wrong: 4294967296 is greater than"),
        ("fits.seeds", [2**64], r"fits\.seeds\.0 is 18446744073709551616: it must be below"),
        ("training.batch_size", 2048.0, r"training\.batch_size is wrong: 2048\.0 is not of type"),
        ("models.mlp.optimizer.lr", float("nan"), r"lr is nan: it must be a finite number"),
        ("models.mlp.optimizer.lr", "1e-3", r"lr is text to YAML, '1e-3': write 0\.001"),
        ("models.mlp.arguments", {"dropout": float("inf")}, r"dropout is inf: it must be a fin"),
        ("models.mlp.arguments", {1: 2}, r"the key 1 in models\.mlp\.arguments, which is not text"),
        ("models", {True: {}}, r'the key True in models, .* put it in quotes, "True"'),
        ("published", [{"name": "x"}], r"published\.0 is incomplete"),
        ("published", [CHECKPOINT | {"model": "svm"}], r"published\.x\.model names 'svm'"),
        ("published", [CHECKPOINT | {"loss": "no"}], r"published\.x\.loss names 'no'"),
        (
            "published",
            [CHECKPOINT | {"name": "mlp"}],
            r"a checkpoint mlp, which is also a model in models",
        ),
        ("published", [CHECKPOINT | {"path": None}], r"x in published needs either a path or a"),
        (
            "published",
            [CHECKPOINT | {"holds": "results", "set": "test"}],
            r"published\.x\.set names 'test', which is not among the sets: val, id, ood\.",
        ),
        ("published", [CHECKPOINT | {"holds": "tables"}], r"published\.0\.holds is 'tables'"),
        ("published", [CHECKPOINT, CHECKPOINT], r"published has x with loss ce and seed 0 twice"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(schema, paper, path, value, message):
    with pytest.raises(UserError, match=message):
        resolve(changed(paper, path, value), schema)


def test_arguments_of_a_class_may_hold_braces(schema, paper):
    config = changed(paper, "losses.hce.arguments", {"form": "{x}"})
    assert resolve(config, schema)["losses"]["hce"]["arguments"] == {"form": "{x}"}


@pytest.mark.parametrize(
    ("names", "run"),
    [
        (["demo"], "demo"),
        (["pbmc"], "pbmc"),
        (["pbmc", "leave_one_out"], "without_kang2018"),
        (["pbmc", "pbmc_originals"], "pbmc_originals"),
        (["pilot"], "pilot"),
        (["published"], "published"),
        (["releases"], "releases"),
    ],
)
def test_every_override_that_is_shipped_resolves(schema, paper, repository, names, run):
    def merge(base, override):
        for key, value in override.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                merge(base[key], value)
            else:
                base[key] = value

    for name in names:
        merge(paper, yaml.safe_load((repository / f"config/{name}.yaml").read_text()))
    assert resolve(paper, schema)["run"] == run


def test_a_study_that_is_new_needs_one_newer_release(schema, paper):
    files = {"manifest": "m.tsv", "dir": "files", "new_study": "mine"}
    config = changed(changed(paper, "data.source", "h5ad"), "data.h5ad", files)
    assert resolve(config, schema)["data"]["h5ad"]["new_study"] == "mine"
    releases = [{"release": "2023-12-15"}, {"release": "2024-07-01"}]
    with pytest.raises(UserError, match=r"new_study needs one newer release.*names 2"):
        resolve(changed(config, "data.new", releases), schema)


FILES = {
    "ontology.file": "own/cl.obo",
    "data.genes": "genes.txt",
    "data.h5ad.manifest": "manifest.tsv",
    "curation.expected_types": "types.tsv",
    "published": [CHECKPOINT],
}


@pytest.fixture
def with_files(schema, paper):
    """The paper's config with a local file in each place that takes one."""
    config = changed(paper, "data.h5ad", {"dir": "cells"})
    for path, value in {**FILES, "data.source": "h5ad"}.items():
        config = changed(config, path, value)
    return resolve(config, schema)


def test_files_are_looked_for_where_they_may_be_found(with_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repository/own").mkdir(parents=True)
    for name in ("own/cl.obo", "genes.txt", "manifest.tsv", "types.tsv"):
        (tmp_path / "repository" / name).touch()
    (tmp_path / "x.ckpt").touch()
    check_files(with_files, lambda path: f"repository/{path}")
    with pytest.raises(UserError, match=r"ontology\.file names own/cl\.obo, which does not exist"):
        check_files(with_files, str)


@pytest.mark.parametrize(
    ("key", "path"), [*list(FILES.items())[:4], ("published.x.path", "x.ckpt")]
)
def test_a_file_that_is_nowhere_is_named_with_its_key(with_files, tmp_path, monkeypatch, key, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for name in {"own/cl.obo", "genes.txt", "manifest.tsv", "types.tsv", "x.ckpt"} - {path}:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{key} names {path}, which does not exist"):
        check_files(with_files, str)


def test_addresses_and_names_of_releases_files_are_no_local_files(schema, paper):
    config = resolve(changed(paper, "curation.expected_types", None), schema)
    check_files(config, lambda path: pytest.fail(f"looked for {path}"))


def test_home_and_variables_of_a_path_are_put_in_their_place(schema, paper, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/anna")
    monkeypatch.setenv("HOME", "/users/anna")
    for written, path in (
        ("$SCRATCH/hce", "/scratch/anna/hce"),
        ("${SCRATCH}/hce", "/scratch/anna/hce"),
        ("~/hce", "/users/anna/hce"),
    ):
        assert resolve(changed(paper, "data.dir", written), schema)["data"]["dir"] == path


def test_a_variable_that_is_not_set_is_named_and_no_folder_of_its_name_is_made(
    schema, paper, monkeypatch
):
    monkeypatch.delenv("SCRATCH", raising=False)
    with pytest.raises(UserError, match=r"data\.dir is '\$SCRATCH/hce'.*\$SCRATCH is not set here"):
        resolve(changed(paper, "data.dir", "$SCRATCH/hce"), schema)
    with pytest.raises(UserError, match=r"data\.dir is '~nobody-here/hce'.*home directory"):
        resolve(changed(paper, "data.dir", "~nobody-here/hce"), schema)


def test_the_folder_on_a_node_is_left_to_the_job(schema, paper, monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    assert resolve(changed(paper, "data.stage", "$TMPDIR"), schema)["data"]["stage"] == "$TMPDIR"


def test_some_models_take_further_losses_with_the_same_seeds_and_no_fit_is_named_twice(
    paper, schema
):
    also = [{"models": ["mlp", "linear"], "losses": ["hce_study", "ce"]}]
    fits = {"models": ["linear", "mlp", "tabnet"], "losses": ["ce", "hce"], "seeds": [0, 5]}
    found = fits_of(resolve(changed(paper, "fits", {**fits, "also": also}), schema))
    losses = {"linear": ["ce", "hce", "hce_study"], "mlp": ["ce", "hce", "hce_study"]}
    losses["tabnet"] = ["ce", "hce"]
    assert found == [(m, loss, seed) for m in losses for loss in losses[m] for seed in (0, 5)]


def test_further_losses_of_models_that_a_run_leaves_out_train_nothing(paper, schema):
    also = [{"models": ["linear", "mlp"], "losses": ["hce_study"]}]
    fits = {"models": ["linear"], "losses": ["ce"], "seeds": [0], "also": also}
    config = changed(changed(paper, "fits", fits), "figures.model", "linear")
    assert fits_of(resolve(config, schema)) == [("linear", "ce", 0), ("linear", "hce_study", 0)]
