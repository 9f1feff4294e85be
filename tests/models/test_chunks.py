import numpy as np
import pytest

from models import chunks
from models.chunks import Ranked, rank_in_chunks
from models.sequences import Sequences
from tests.pipelines.small_sequences import lists_of, make

HISTORIES = [[4, 5], [], [6], [7, 8, 9], [3]]


@pytest.mark.parametrize(("most", "most_cells", "sizes"), [(2, 100, [2, 2, 1]), (9, 7, [2, 2, 1]), (9, 1, [1] * 5)])
def test_every_history_is_ranked_once_in_its_place(
    most: int, most_cells: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MOST_CELLS", most_cells)
    asked: list[int] = []

    def rank(part: Sequences) -> Ranked:
        asked.append(len(part))
        sums = np.array([sum(row) for row in lists_of(part)], np.int32)
        return np.stack([sums, -sums, 0 * sums], axis=1), np.stack([sums / 2] * 3, axis=1).astype(np.float32)

    items, scores = rank_in_chunks(make(*HISTORIES), 3, most, rank)
    assert asked == sizes
    assert items.tolist() == [[sum(row), -sum(row), 0] for row in HISTORIES]
    assert scores.tolist() == [[sum(row) / 2] * 3 for row in HISTORIES]


def test_no_history_is_no_list() -> None:
    items, scores = rank_in_chunks(make(), 4, 9, lambda _: pytest.fail("nothing to rank"))
    assert items.shape == scores.shape == (0, 4)
