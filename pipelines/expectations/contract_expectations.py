"""What every table must fulfil: the columns of its contract, no null where none is allowed, a unique key."""

from collections.abc import Sequence
from typing import Final

from pipelines.contracts import Contract
from pipelines.engine import identifier, quote
from pipelines.expectations.expectation import Expectation, Sql, column_list, no_rows

ROW_NUMBERS: Final = frozenset({"source_row"})
"""Columns that number rows from 1 without large holes, so that a bit for each number takes less than a group."""


def contract_expectations(contract: Contract) -> tuple[Expectation, ...]:
    """Derive the expectations that follow from the contract alone."""
    return (_columns_match(contract), _no_nulls(contract), _key_is_unique(contract))


def _columns_match(contract: Contract) -> Expectation:
    return Expectation(
        "columns_match_the_contract",
        "ExpectTableColumnsToMatchOrderedList",
        {"column_list": contract.column_names},
        "the columns are, in this order: " + ", ".join(contract.column_names),
    )


def _no_nulls(contract: Contract) -> Expectation:
    """One pass for all required columns; each row it finds names the columns that are null in it.

    The proof asks column by column, which the statistics of Parquet files answer without reading the column.
    """
    return no_rows(
        "required_columns_are_never_null",
        """
        select concat_ws(', ', $names_of_null_columns) as null_columns, $key
        from {batch}
        where $any_is_null
        """,
        "never null: " + ", ".join(contract.required),
        key=column_list(contract.key),
        names_of_null_columns=_names_of_null_columns(contract.required),
        any_is_null=Sql(" or ".join(f"{identifier(column)} is null" for column in contract.required)),
        proof="select $no_column_is_null",
        no_column_is_null=Sql(
            " and ".join(
                f"not exists (from {{batch}} where {identifier(column)} is null)" for column in contract.required
            )
        ),
    )


def _names_of_null_columns(columns: Sequence[str]) -> Sql:
    return Sql(", ".join(f"case when {identifier(column)} is null then {quote(column)} end" for column in columns))


def _key_is_unique(contract: Contract) -> Expectation:
    """The proof sets a bit for each row number, in blocks of 4096: if one repeats, there are fewer bits than rows.

    It takes a tenth of the time and memory of a group for each row.
    """
    *former, last = contract.key
    return no_rows(
        _uniqueness_name([column for column in contract.key if column != contract.partition] or contract.key),
        """
        select $key, count(*) as num_rows
        from {batch}
        group by $key
        having count(*) > 1
        """,
        "no two rows share " + ", ".join(contract.key),
        proof=_NO_NUMBER_REPEATS if last in ROW_NUMBERS else "",
        key=column_list(contract.key),
        former=column_list(former),
        number=column_list([last]),
    )


_NO_NUMBER_REPEATS: Final = """
    with blocks as (
        select bitstring_agg($number & 4095, 0, 4095) as bits, count(*) as num_rows
        from {batch}
        group by $former, $number >> 12
    )
    select sum(bit_count(bits)) = sum(num_rows) from blocks
"""


def _uniqueness_name(columns: Sequence[str]) -> str:
    *former, last = columns
    return f"{'_'.join(former)}_and_{last}_are_unique_together" if former else f"{last}_is_unique"
