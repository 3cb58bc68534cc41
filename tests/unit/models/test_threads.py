"""Ranges that threads share are each worked on once, whatever the number of threads."""

import pytest
import torch

from hce.models.threads import even, in_threads


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [0, 1, 10])
def test_every_row_is_in_one_range(threads, n):
    seen = []
    in_threads(lambda first, stop: seen.extend(range(first, stop)), even(n))
    assert sorted(seen) == list(range(n))
    assert len(even(n)) == threads + 1
    assert len(even(n, 16)) == 17


def test_what_a_range_raises_is_raised(threads):
    def fail(first: int, stop: int) -> None:
        raise ValueError(f"{first} to {stop}")

    with pytest.raises(ValueError, match="0 to"):
        in_threads(fail, even(10))
