"""The manifest of files to annotate: files beside it, and each mistake in one sentence."""

import pytest

from hce.errors import UserError
from hce.inputs.manifests import read_annotation_manifest


def test_files_are_looked_for_beside_it_and_empty_options_are_left_out(tmp_path):
    (tmp_path / "a.h5ad").touch()
    (tmp_path / "b.h5ad").touch()
    manifest = tmp_path / "mine.tsv"
    manifest.write_text("name\tfile\tlayer\tvote\none\ta.h5ad\t\tleiden\ntwo\tb.h5ad\tcounts\t\n")
    assert read_annotation_manifest(manifest) == {
        "one": {"file": str(tmp_path / "a.h5ad"), "options": {"vote": "leiden"}},
        "two": {"file": str(tmp_path / "b.h5ad"), "options": {"layer": "counts"}},
    }
    assert read_annotation_manifest(None) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read as TSV"),
        ("", "cannot be read as TSV"),
        ("name\tpath\na\ta.h5ad\n", "no column file"),
        ("name\tfile\tmodel\na\ta.h5ad\tx\n", "a column 'model'; allowed: name, file, layer, vote"),
        ("name\tfile\na\ta.h5ad\na\ta.h5ad\n", "the name 'a' twice"),
        ("name\tfile\na/b\ta.h5ad\n", "the name 'a/b', which becomes a file's"),
        ("name\tfile\n\ta.h5ad\n", "the name '', which becomes a file's"),
        ("name\tfile\n{a}\ta.h5ad\n", "the name '{a}', which becomes a file's"),
        (f"name\tfile\n{'a' * 101}\ta.h5ad\n", "100 at most"),
        ("name\tfile\na\tb.h5ad\n", "b.h5ad, which is not an h5ad file"),
        ("name\tfile\na\ta.zarr\n", r"a.zarr, which .* .A zarr is annotated by `hce annotate`"),
        ("name\tfile\na\ta.tsv\n", "a.tsv, which is not an h5ad file"),
    ],
)
def test_mistakes_are_named(text, words, tmp_path):
    (tmp_path / "a.h5ad").touch()
    (tmp_path / "a.tsv").touch()
    (tmp_path / "a.zarr").mkdir()
    manifest = tmp_path / "mine.tsv"
    if text is not None:
        manifest.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        read_annotation_manifest(manifest)
    assert "\n" not in str(error.value)
