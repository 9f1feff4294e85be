import numpy as np

from models.links import Links


def links(*rows: list[int], num_columns: int = 5) -> Links:
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return Links(np.array([column for row in rows for column in row], np.int32), offsets, num_columns)


def same(found: Links, expected: Links) -> bool:
    return (
        found.columns.tolist() == expected.columns.tolist()
        and found.offsets.tolist() == expected.offsets.tolist()
        and found.num_columns == expected.num_columns
    )


def test_a_pair_that_comes_again_changes_nothing() -> None:
    pairs = Links.of(np.array([1, 0, 1, 1, 1]), np.array([4, 2, 0, 4, 4]), (3, 5))
    assert same(pairs, links([2], [0, 4], []))
    assert pairs.fill == 3 / 15


def test_many_of_one_pair_are_one_link() -> None:
    assert same(Links.of(np.zeros(1000, int), np.ones(1000, int), (1, 5)), links([1]))


def test_rows_and_columns_are_exchanged_put_beside_one_another_and_stacked() -> None:
    one, other = links([2], [0, 4], []), links([1], [], [0])
    assert same(one.transposed(), links([1], [], [0], [], [1], num_columns=3))
    assert same(Links.side_by_side([one, other]), links([2, 6], [0, 4], [5], num_columns=10))
    assert same(Links.stacked([one, other]), links([2], [0, 4], [], [1], [], [0]))
    assert Links.stacked([one]) is one


def test_later_rows_and_columns_have_no_links() -> None:
    assert same(links([2], [0, 4]).widened(4, 9), links([2], [0, 4], [], [], num_columns=9))
