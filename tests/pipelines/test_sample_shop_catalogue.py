import numpy as np
import pyarrow as pa
import pytest

from pipelines.sample_shop_catalogue import CATEGORIES, HOSTILE_TITLES, MATERIALS, NOUNS, catalogue_table, encoded
from pipelines.sample_shop_items import Items, plant_items
from pipelines.sample_shop_settings import SampleShop

CONFIG = SampleShop()


@pytest.fixture(scope="module")
def items() -> Items:
    return plant_items(CONFIG, CONFIG.num_items_on(20))


@pytest.fixture(scope="module")
def table(items: Items) -> pa.Table:
    return catalogue_table(CONFIG, items)


def test_ids_are_unique_and_in_the_order_of_the_items(items: Items, table: pa.Table) -> None:
    assert table["id"].to_pylist() == items.ids
    assert len(set(items.ids)) == 860


def test_nine_items_in_ten_share_the_category_of_their_cluster(items: Items, table: pa.Table) -> None:
    categories = table["category"].to_pylist()
    own = [CATEGORIES[cluster] == category for cluster, category in zip(items.cluster_I, categories, strict=True)]
    # One in 24 of the others meets it by chance.
    assert np.mean(own) == pytest.approx(0.9 + 0.1 / 24, abs=0.03)


def test_nouns_and_materials_suit_the_category(table: pa.Table) -> None:
    for row in table.to_pylist():
        assert row["noun"] in NOUNS[row["category"]]
        assert row["material"] in MATERIALS[row["category"].split(" > ")[0]]


def test_prices_are_positive_with_one_decimal(table: pa.Table) -> None:
    prices = table["price"].to_numpy()
    assert prices.min() > 5
    np.testing.assert_allclose(prices * 10, np.round(prices * 10))


def test_each_hostile_title_belongs_to_one_touched_item(items: Items, table: pa.Table) -> None:
    titles = table["hostile_title"].to_pylist()
    numbers = [number for number, title in enumerate(titles) if title is not None]
    assert sorted(titles[number] for number in numbers) == sorted(HOSTILE_TITLES)
    assert not set(numbers) & set(items.untouched)


def test_words_stay_the_same_when_items_are_added(table: pa.Table) -> None:
    early = catalogue_table(CONFIG, plant_items(CONFIG, CONFIG.num_items_on(2)))
    assert early.to_pylist() == table.slice(0, 806).to_pylist()


def test_the_smallest_shop_has_a_catalogue() -> None:
    config = SampleShop(num_items=4, num_clusters=1)
    table = catalogue_table(config, plant_items(config, 4))
    assert table["hostile_title"].to_pylist() == [None] * 4


def test_negative_codes_count_from_the_end() -> None:
    assert encoded(np.array([0, -1, 1, -3]), ["a", "b", "c"]).to_pylist() == ["a", "c", "b", "a"]
