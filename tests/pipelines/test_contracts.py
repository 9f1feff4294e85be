import pyarrow as pa
import pytest

from pipelines.contracts import CONTRACTS, Column, Contract

VISITS = Contract(
    "visits",
    "one visit",
    ("day", "visitor"),
    "day",
    (
        Column("day", pa.date32(), "the day"),
        Column("visitor", pa.string(), "who"),
        Column("seconds", pa.float64(), "how long", nullable=True),
    ),
)
each_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)


def test_schema_names_and_required_columns_follow_the_columns() -> None:
    assert VISITS.schema == pa.schema([("day", pa.date32()), ("visitor", pa.string()), ("seconds", pa.float64())])
    assert VISITS.column_names == ["day", "visitor", "seconds"]
    assert VISITS.required == ["day", "visitor"]


def test_all_tables_of_the_pipeline_are_declared() -> None:
    assert set(CONTRACTS) == {
        "source_files", "interactions", "quarantine", "item_observations", "items", "sessions", "item_frequency",
        "item_users", "interval_uniformity", "item_neighbours", "metadata_vocabulary", "training_sequences",
        "training_runs", "metrics", "recommendations", "related_items",
    }  # fmt: skip
    assert all(name == contract.name for name, contract in CONTRACTS.items())


@each_contract
def test_key_and_partition_are_columns_that_are_never_null(contract: Contract) -> None:
    assert contract.key
    assert set(contract.key) <= set(contract.required)
    assert contract.partition in contract.required
    assert contract.schema.field(contract.partition).type == pa.date32()


@each_contract
def test_columns_are_distinct_also_without_regard_to_case_and_have_a_meaning(contract: Contract) -> None:
    assert len({name.lower() for name in contract.column_names}) == len(contract.columns)
    assert all(column.meaning.strip() for column in contract.columns)
    assert contract.grain.strip()


@each_contract
def test_points_in_time_are_utc_in_microseconds(contract: Contract) -> None:
    types = [t.value_type if pa.types.is_list(t) else t for t in contract.schema.types]
    assert all(t == pa.timestamp("us", tz="UTC") for t in types if pa.types.is_timestamp(t))


@each_contract
def test_a_snapshot_bears_the_night_in_its_key(contract: Contract) -> None:
    if contract.snapshot:
        assert contract.partition == "as_of_date"
        assert contract.key[0] == "as_of_date"


def test_what_holds_the_whole_state_anew_each_night_is_a_snapshot() -> None:
    assert {name for name, contract in CONTRACTS.items() if contract.snapshot} == {
        "items", "item_frequency", "interval_uniformity", "item_neighbours",
    }  # fmt: skip
