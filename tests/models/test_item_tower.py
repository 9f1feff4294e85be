import numpy as np
import torch
from torch import Tensor

from models.item_tower import (
    BUCKET_EVENTS,
    MOST_POPULAR,
    FieldTable,
    HashedIds,
    ItemTower,
    Part,
    popularity_buckets,
    popularity_table,
)
from models.sequences import UNKNOWN
from tests.models.small_catalogue import values

EVERY = torch.arange(6)


def table(*rows: list[int], num_rows: int = 5, drop_rate: float = 0) -> FieldTable:
    torch.manual_seed(0)
    return FieldTable(values([], [], *rows), num_rows, 3, drop_rate)


def vectors(part: Part, items: Tensor = EVERY) -> Tensor:
    return ItemTower([part], dim=2).side_by_side(items)


def test_an_item_has_the_mean_of_its_values_and_one_without_is_unknown() -> None:
    part = table([2], [2, 4], [], [3, 4, 4])
    weight = part.table.weight
    found = vectors(part, torch.tensor([5, 2, 3, 4, 3]))
    expected = [weight[[3, 4, 4]].mean(0), weight[2], weight[[2, 4]].mean(0), weight[UNKNOWN], weight[[2, 4]].mean(0)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_value_without_a_row_is_unknown() -> None:
    part = table([2], [8], [2, 8], [4], num_rows=5)
    weight = part.table.weight
    found = vectors(part, torch.tensor([3, 4]))
    torch.testing.assert_close(found, torch.stack([weight[UNKNOWN], weight[[2, UNKNOWN]].mean(0)]))


def test_parts_stand_side_by_side_and_one_may_be_left_out() -> None:
    first, second = table([2], [3], [4], [2]), table([4], [4], [3], [3])
    tower = ItemTower([first, second], dim=2)
    torch.testing.assert_close(tower.side_by_side(EVERY), torch.cat([vectors(first), vectors(second)], dim=1))
    without = tower.side_by_side(EVERY, without=1)
    torch.testing.assert_close(without[:, :3], vectors(first))
    torch.testing.assert_close(without[:, 3:], second.unknown().expand(6, 3))


def test_values_are_dropped_at_their_rate_in_training_alone() -> None:
    part = table(*[[2]] * 4, drop_rate=0.25)
    many = torch.full((20_000,), 2)
    dropped = (vectors(part, many) == part.unknown()).all(dim=1).float().mean()
    assert 0.23 < float(dropped) < 0.27
    part.eval()
    assert (ItemTower([part], dim=2).eval().side_by_side(many) == part.table.weight[2]).all()


def test_every_row_of_every_table_can_learn() -> None:
    field = table([2], [3], [4], [])
    hashed = HashedIds(np.arange(6) > 2, num_rows=4, dim=3, drop_rate=0)
    ItemTower([field, hashed], dim=2)(EVERY)[:, 0].sum().backward()
    assert field.table.weight.grad is not None
    assert (field.table.weight.grad[1:] != 0).all()
    assert all(rows.grad is not None and (rows.grad != 0).any() for rows in hashed.tables.parameters())


def test_hashed_ids_tell_items_apart_and_know_only_those_seen() -> None:
    torch.manual_seed(0)
    num_items = 3000
    part = HashedIds(np.arange(num_items) % 10 > 0, num_rows=512, dim=4, drop_rate=0)
    found = vectors(part, torch.arange(num_items))
    unseen = torch.arange(num_items) % 10 == 0
    assert (found[unseen] == part.unknown()).all()
    apart = torch.unique(found[~unseen].detach(), dim=0)
    assert len(apart) > 0.99 * int((~unseen).sum())
    assert sum(rows.numel() for rows in part.parameters()) == 2 * (512 + 2) * 4


def test_hashed_rows_are_used_alike() -> None:
    part = HashedIds(np.ones(100_000, bool), num_rows=100, dim=2, drop_rate=0)
    with torch.no_grad():
        for rows in part.tables.parameters():
            rows[:] = torch.stack([torch.arange(102.0), torch.zeros(102)], dim=1)
        list(part.tables.parameters())[1][:] = 0
    counts = torch.bincount(vectors(part, torch.arange(100_000))[:, 0].long(), minlength=102)
    assert counts[:2].sum() == 0
    assert counts[2:].min() > 800
    assert counts[2:].max() < 1200


def test_popularity_is_a_field_in_which_an_item_without_events_has_no_value() -> None:
    part = popularity_table(np.array([0, 0, 0, 8, 8, 13], np.uint8), dim=3, drop_rate=0)
    found = vectors(part)
    assert (found[:3] == part.unknown()).all()
    assert (found[3] == found[4]).all()
    assert (found[5] != found[3]).any()
    assert (found[3] != part.unknown()).any()


def test_small_counts_have_buckets_of_their_own_and_large_ones_share() -> None:
    buckets = popularity_buckets(np.repeat(np.arange(5000), BUCKET_EVENTS))[::BUCKET_EVENTS]
    assert len(set(buckets[:12].tolist())) == 12
    assert (np.diff(buckets.astype(int)) >= 0).all()
    assert len(set(buckets.tolist())) < 110


def test_counts_of_few_items_share_a_bucket_with_the_next_so_that_something_is_learnt_of_it() -> None:
    counts = np.array([0, 1, 2, 2, *[4] * 200, 5, *[9] * 100, 30])
    buckets = popularity_buckets(counts)
    assert buckets[0] == 0
    assert len(set(buckets[1:204].tolist())) == 1  # 805 events, with those of items of 1 and 2
    assert len(set(buckets[204:].tolist())) == 1  # the last one has fewer than enough by itself
    assert 0 < buckets[203] < buckets[204]
    assert (popularity_buckets(np.array([0, 3])) > 0).tolist() == [False, True]
    assert popularity_buckets(np.array([2**62]))[0] == MOST_POPULAR
