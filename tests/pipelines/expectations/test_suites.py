import re

import pytest

from pipelines.contracts import CONTRACTS
from pipelines.expectations import COMPANIONS, suite
from pipelines.settings import Settings

from .conftest import Judge, Tables


@pytest.mark.parametrize("table", CONTRACTS)
def test_valid_table_breaks_nothing(table: str, tables: Tables, judge: Judge) -> None:
    assert judge(table, tables) == set()


@pytest.mark.parametrize("table", CONTRACTS)
def test_tables_without_rows_break_nothing(table: str, tables: Tables, judge: Judge) -> None:
    assert judge(table, {name: [] for name in tables}) == set()


@pytest.mark.parametrize("table", CONTRACTS)
def test_names_are_unique_sentences_with_a_meaning(table: str, settings: Settings) -> None:
    expectations = suite(CONTRACTS[table], settings)
    names = [expectation.name for expectation in expectations]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name == name.lower() and "_" in name for name in names)
    assert all(expectation.meaning for expectation in expectations)


def test_one_expectation_warns_and_all_others_stop_the_night(settings: Settings) -> None:
    every = [expectation for contract in CONTRACTS.values() for expectation in suite(contract, settings)]
    warning = [expectation.name for expectation in every if expectation.severity == "warning"]
    assert warning == ["behaviour_is_as_familiar_as_before"]
    assert {expectation.severity for expectation in every} == {"error", "warning"}


@pytest.mark.parametrize("table", COMPANIONS)
def test_every_companion_is_read(table: str, settings: Settings) -> None:
    queries = " ".join(e.arguments.get("unexpected_rows_query", "") for e in suite(CONTRACTS[table], settings))
    assert all(re.search(rf"\b(from|join) {view}\b", queries) for view in COMPANIONS[table])
