import numpy as np

from benchmarks.category_floor import CategoryFloor, CategoryFloorConfig
from models.catalogue import Catalogue, Values
from models.sequences import Sequences


def sequences(*rows: list[int]) -> Sequences:
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Sequences(items, np.zeros(len(items), np.int64), offsets)


def catalogue(*levels: list[int]) -> Catalogue:
    """One value a level and item, from item 2 on; 0: none."""
    fields = {}
    for level, numbers in enumerate(levels, start=1):
        offsets = np.concatenate([[0, 0, 0], np.cumsum([number > 0 for number in numbers])]).astype(np.int64)
        fields[f"category_{level}"] = Values(np.array([n for n in numbers if n], np.int32), offsets, 9)
    return Catalogue(len(levels[0]) + 2, fields)


def test_items_of_the_last_category_come_first_by_popularity() -> None:
    model = CategoryFloor(CategoryFloorConfig(), catalogue([2, 2, 3, 3, 2, 0]))
    model.fit(sequences([2, 3, 3], [4, 4, 4, 5, 7]), seed=0)
    items, scores = model.topk(sequences([4, 2], [2, 5], [7], []), 6, np.ones(8, bool))
    assert items.tolist() == [[3, 2, 6, 4, 5, 7], [4, 5, 3, 2, 7, 6], [4, 3, 2, 5, 7, 6], [4, 3, 2, 5, 7, 6]]
    assert scores[0, :3].tolist() == [3, 2, 1]
    assert (scores[2:] < 0).all()


def test_the_deepest_level_counts() -> None:
    model = CategoryFloor(CategoryFloorConfig(), catalogue([2, 2, 2, 3], [2, 3, 3, 0]))
    model.fit(sequences([2, 3, 4]), seed=0)
    items, _ = model.topk(sequences([3], [5]), 2, np.ones(6, bool))
    assert items[0].tolist() == [3, 4]
    assert items[1].tolist()[0] == 5


def test_at_random_the_order_within_a_category_follows_the_seed_and_not_the_events() -> None:
    firsts = set()
    for seed in range(20):
        model = CategoryFloor(CategoryFloorConfig(order="random"), catalogue([2, 2, 2, 3]))
        model.fit(sequences([2] * 9 + [5] * 9), seed=seed)
        items, _ = model.topk(sequences([2]), 4, np.ones(6, bool))
        assert set(items[0, :3].tolist()) == {2, 3, 4}
        firsts.add(int(items[0, 0]))
    assert firsts == {2, 3, 4}
