from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.links import Links
from models.read_out import BLOCK_SUBJECTS, Heap, add_links, crosstalk, fills_of, read_in_blocks, take_best
from models.sequences import Sequences

Make = Callable[..., Sequences]
LINKS = Links.of(np.array([0, 0, 1, 2, 3, 3]), np.array([0, 2, 2, 2, 0, 1]), (4, 3))


def test_a_unit_gives_its_activity_to_all_it_is_linked_with() -> None:
    scores, found = np.zeros(3, np.float32), np.empty(4, np.int32)
    num_found = 0
    for unit, activity in ((3, 0.0), (0, 0.5), (1, 2.0), (3, 0.0)):
        num_found = add_links((LINKS.columns, LINKS.offsets), unit, activity, scores, found, num_found)
    assert scores.tolist() == [0.5, 0, 2.5]
    assert found[:num_found].tolist() == [0, 2]


def test_fills_are_the_shares_of_each_banks_units() -> None:
    fills = fills_of(LINKS, bank_units=2)
    rows = [slice(start, stop) for start, stop in zip(fills.offsets, fills.offsets[1:], strict=False)]
    assert [fills.banks[row].tolist() for row in rows] == [[0, 1], [1], [0, 1]]
    assert [fills.shares[row].tolist() for row in rows] == [[0.5, 0.5], [0.5], [1, 0.5]]
    assert crosstalk(tuple(fills), np.array([3.0, 4.0]), 2) == 3 * 1 + 4 * 0.5


@pytest.mark.parametrize(("whole", "shares"), [(0.0, [0.5, 0.3]), (20.0, [0.25, 0.15])])
def test_the_best_are_written_as_shares_and_scores_are_cleared(whole: float, shares: list[float]) -> None:
    scores = np.array([0, 5, -1, 3, 2], np.float32)
    items, written = np.full(4, -1, np.int32), np.zeros(4, np.float32)
    heap = np.empty(2, np.float32), np.empty(2, np.int32)
    end = take_best(scores, np.array([1, 2, 3, 4], np.int32), 4, whole, heap, items, written, 1)
    assert end == 3
    found = dict(zip(items[1:3].tolist(), written[1:3].tolist(), strict=True))
    assert found == pytest.approx(dict(zip([1, 3], shares, strict=True)))
    assert not scores.any()


def test_blocks_are_read_in_their_order(sequences: Make) -> None:
    def read(
        block: Sequences, heap: Heap, columns: NDArray[np.int32], shares: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        columns[: len(block)] = block.items
        shares[: len(block)] = 1
        assert len(heap[0]) == 2
        return np.arange(len(block) + 1)

    number = 2 * BLOCK_SUBJECTS + 3
    before = torch.get_num_threads()
    found = read_in_blocks(sequences(*[[item] for item in range(number)]), number, 2, read)
    assert found.toarray().argmax(axis=1).tolist() == list(range(number))
    assert torch.get_num_threads() == before
    assert read_in_blocks(sequences(), number, 2, read).shape == (0, number)
