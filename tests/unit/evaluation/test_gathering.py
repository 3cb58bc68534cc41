"""Scores of many fits become one table."""

import pytest

from hce.errors import UserError
from hce.evaluation.scoring import gather


def test_gathering_keeps_the_text_of_values_and_the_order_of_the_config(tmp_path):
    paths = []
    for seed, value in ((1, "0.10"), (0, "NA")):
        paths.append(tmp_path / f"{seed}.tsv")
        paths[-1].write_text(f"model\tloss\tseed\tstudy\tvalue\nmlp\tce\t{seed}\t007\t{value}\n")
    table = gather(paths, [["mlp", "ce", 0], ["mlp", "ce", 1]])
    assert table["seed"].tolist() == ["0", "1"]
    assert table["study"].tolist() == ["007", "007"]
    assert table["value"].tolist() == ["NA", "0.10"]


@pytest.mark.parametrize("fits", [[["mlp", "ce", 0], ["mlp", "ce", 1]], [["mlp", "ce", 2]]])
def test_gathering_refuses_scores_that_are_not_the_configs_fits(tmp_path, fits):
    path = tmp_path / "overall.tsv"
    path.write_text("model\tloss\tseed\tvalue\nmlp\tce\t0\t1\n")
    with pytest.raises(UserError, match="but not in both"):
        gather([path], fits)
