import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks import constant_time


def test_made_up_sequences_hold_different_items_and_begin_alike() -> None:
    few, many = constant_time.made_up(50), constant_time.made_up(500)
    assert len(few) == 50
    assert all(len(set(row)) == constant_time.LENGTH for row in many.items.reshape(500, -1).tolist())
    assert few.items.min() >= 2


def test_a_hit_is_a_target_with_few_above_it() -> None:
    answer = csr_array(np.array([[0, 3, 2, 1], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32))
    assert constant_time.hits(answer, np.array([1, 1, 1]), 1).tolist() == [True, True, False]
    assert constant_time.hits(answer, np.array([3, 2, 1]), 3).tolist() == [True, False, False]
    assert constant_time.hits(answer, np.array([3, 2, 1]), 2).tolist() == [False, False, False]


def test_a_row_is_printed_of_every_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_time, "NUM_LISTS", 200)
    counts = set()
    for number in (200, 2_000):
        dense, links, exact = constant_time.measure(number, 256)
        assert dense.found == links.found == exact.found == 1
        cells = capsys.readouterr().out.split(" | ")
        counts.add(tuple(cells[1:4]))
    assert counts == {("80", "516", f"{4 * 32 + 512 * 313:,}")}
