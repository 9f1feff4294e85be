import numpy as np
import pytest

from models.catalogue import Catalogue, Values
from models.field_plan import FIRST_SEEN, LEAST_BUCKETS, Field, adopt_fields, plan_fields, read_fields, write_fields
from models.recommender import UnfitStart
from tests.models.small_catalogue import values

NOTHING: tuple[list[int], list[int]] = ([], [])  # what the special numbers have


def plan(catalogue: Catalogue) -> tuple[tuple[Field, ...], list[str]]:
    """Plan for a catalogue of which every item was seen."""
    return plan_fields(catalogue, np.ones(catalogue.num_items, np.bool_))


def planned(values_: Values, name: str = "brand") -> tuple[tuple[Field, ...], list[str]]:
    return plan(Catalogue(len(values_.lengths), {name: values_}))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (([2], [2], [2]), "field 'brand' is not used: all items have the same value"),
        (([2], [3], [4]), "field 'brand' is not used: no two items share a value"),
        (([2, 5], [3], []), "field 'brand' is not used: no two items share a value"),
        (([], [1], []), "field 'brand' is not used: no item has a value"),
    ],
)
def test_a_field_that_tells_nothing_of_other_items_is_left_out(rows: tuple[list[int], ...], words: str) -> None:
    fields, notes = planned(values(*NOTHING, *rows))
    assert fields == ()
    assert len(notes) == 1
    assert words in notes[0]


@pytest.mark.parametrize("rows", [([2], [2], [3]), ([2], [2], []), ([2, 3], [3], [4])])
def test_a_field_that_some_items_share_is_used(rows: tuple[list[int], ...]) -> None:
    fields, _ = planned(values(*NOTHING, *rows, num_values=7))
    assert fields == (Field(name="brand", num_rows=7),)


def test_items_without_a_value_in_any_field_are_counted() -> None:
    fields = {"brand": values(*NOTHING, [2], [2], [3], [], [1]), "title": values(*NOTHING, [2], [], [], [], [])}
    _, notes = plan(Catalogue(7, fields))
    assert notes[0].startswith("field 'title' is not used")
    assert notes[1].startswith("2 of 5 items have no value in any field")
    whole, notes = plan(Catalogue(7, fields, {"price": np.array([np.nan, np.nan, 1, 1, 1, 2, 3])}))
    assert len(whole) == 2
    assert len(notes) == 1
    dated, notes = plan(Catalogue(7, fields, {FIRST_SEEN: np.array([np.nan, np.nan, 1, 1, 1, 2, 3])}))
    assert [field.name for field in dated] == ["brand", FIRST_SEEN]
    assert notes[1].startswith("2 of 5 items have no value in any field")


def test_a_quantity_has_buckets_of_as_many_items_each() -> None:
    price = np.concatenate([[np.nan, np.nan], np.random.default_rng(0).permutation(1000.0 + np.arange(100)), [np.nan]])
    (field,), _ = plan(Catalogue(103, {}, {"price": price}))
    found = field.values(Catalogue(103, {}, {"price": price}))
    assert found.lengths.tolist() == [0, 0, *[1] * 100, 0]
    assert np.bincount(found.numbers).tolist() == [0, 0, *[5] * LEAST_BUCKETS]
    assert (np.diff(found.numbers[np.argsort(price[2:102])]) >= 0).all()
    later = field.values(Catalogue(6, {}, {"price": np.array([np.nan, np.inf, -5, 1e9, 1000, 1005])}))
    assert later.numbers.tolist() == [2, 2 + LEAST_BUCKETS - 1, 2, 3]


def test_buckets_are_those_of_the_items_that_were_seen_and_later_ones_are_in_the_last() -> None:
    published = np.arange(200.0)
    (field,), _ = plan_fields(Catalogue(200, {}, {"created_at": published}), published < 100)
    buckets = field.values(Catalogue(200, {}, {"created_at": published})).numbers
    assert np.bincount(buckets[:100]).tolist() == [0, 0, *[5] * LEAST_BUCKETS]
    assert (buckets[100:] == buckets[99]).all()


@pytest.mark.parametrize(("num_items", "num_buckets"), [(1000, 20), (2500, 50), (9999, 100)])
def test_many_items_have_more_buckets(num_items: int, num_buckets: int) -> None:
    (field,), _ = plan(Catalogue(num_items, {}, {"price": np.arange(float(num_items))}))
    assert field.num_rows == 2 + num_buckets


@pytest.mark.parametrize("price", [[1.0, 1.0] + [5.0] * 58, [5.0, 5.0] + [1.0] * 58])
def test_a_quantity_of_which_few_have_another_value_is_used(price: list[float]) -> None:
    catalogue = Catalogue(62, {}, {"price": np.array([np.nan, np.nan, *price])})
    (field,), _ = plan(catalogue)
    buckets = field.values(catalogue).numbers
    assert len(np.unique(buckets)) == 2
    assert buckets[0] == buckets[1] != buckets[2]


def test_every_bucket_has_an_item_that_was_seen() -> None:
    quantity = np.repeat([0.0, 0, 1, 2, 10, 11, 12], [3, 9, 13, 1, 2, 7, 30])
    (field,), _ = plan(Catalogue(len(quantity), {}, {"price": quantity}))
    found = field.values(Catalogue(len(quantity), {}, {"price": quantity})).numbers
    assert set(found.tolist()) == set(range(2, field.num_rows))


def test_a_quantity_that_is_known_of_no_item_is_not_spoken_of() -> None:
    assert plan(Catalogue(6, {}, {"price": np.full(6, np.nan)})) == ((), [])


@pytest.mark.parametrize("price", [[3.0] * 4, [3.0, np.nan, 3.0, 3.0]])
def test_a_quantity_that_is_the_same_for_all_is_left_out(price: list[float]) -> None:
    fields, notes = plan(Catalogue(6, {}, {"price": np.array([np.nan, np.nan, *price])}))
    assert fields == ()
    assert notes[0].startswith("field 'price' is not used")


def test_levels_of_a_category_path_are_known_by_name() -> None:
    names = {"category_1": 1, "category_12": 12, "category_": 0, "category_x": 0, "brand": 0}
    assert {name: Field(name=name, num_rows=3).level for name in names} == names


def test_a_later_catalogue_may_have_more_but_not_less() -> None:
    field = Field(name="brand", num_rows=4)
    grown = Catalogue(6, {"brand": values(*NOTHING, [2], [2], [3], [4], num_values=5)})
    assert field.grown(grown, Field(name="brand", num_rows=5)) == Field(name="brand", num_rows=5)
    with pytest.raises(ValueError, match="'brand' has 3 values, and the model has learnt 4: a vocabulary only grows"):
        field.values(Catalogue(4, {"brand": values(*NOTHING, [2], [2], num_values=3)}))
    with pytest.raises(ValueError, match="the catalogue has lost field 'brand'"):
        field.values(Catalogue(4))


def test_fields_survive_being_written_and_a_warm_start_makes_the_buckets_of_tonight() -> None:
    catalogue = Catalogue(6, {"brand": values(*NOTHING, [2], [2], [3], [])}, {"price": np.array([0, 0, 1, 2, 3, 4.5])})
    fields, _ = plan(catalogue)
    assert read_fields(write_fields(fields)) == fields
    later = Catalogue(7, {"brand": values(*NOTHING, [2], [2], [3], [], [9], num_values=10)}, {"price": np.arange(7.0)})
    kept = adopt_fields(fields, plan(later)[0], later)
    assert [field.num_rows for field in kept] == [10, plan(later)[0][1].num_rows]
    assert kept[1].edges == plan(later)[0][1].edges != fields[1].edges
    fewer = Field(name="price", num_rows=3, edges=(1.5,))
    assert adopt_fields(fields, (fields[0], fewer), catalogue)[1] == fewer.model_copy(
        update={"num_rows": fields[1].num_rows}
    )


def test_a_warm_start_with_other_fields_is_none() -> None:
    brand, colour = (Field(name=name, num_rows=4) for name in ("brand", "colour"))
    catalogue = Catalogue(4, {"brand": values(*NOTHING, [2], [2], num_values=3)})
    with pytest.raises(UnfitStart, match="start from these weights: field colour is in one of the networks only"):
        adopt_fields((brand, colour), (brand,), catalogue)
    with pytest.raises(UnfitStart, match="has 3 values, and the model has learnt 4"):
        adopt_fields((brand,), (brand,), catalogue)
