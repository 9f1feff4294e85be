"""The metadata vocabulary: every token of every item field gets a number that it keeps for ever.

0 is padding and 1 is unknown in every field, so numbers start at 2. Models know items and metadata by these numbers
alone. Each night writes the tokens that it numbers, and the vocabulary of a night is what it and the nights before
numbered. No number is ever taken back, also when a night runs again: training data of later nights may rely on it.
"""

import hashlib
from datetime import date
from typing import Final

import duckdb

from pipelines.engine import quote
from pipelines.kernel import Kernel, Step
from pipelines.settings import Statistics

FIRST_NUMBER: Final = 2


def vocabulary_kernel(statistics: Statistics, day: date) -> Kernel:
    """The tokens that a night numbers, and those that it numbered when it ran before.

    Reads ``tokens`` (see ``TOKENS``) and ``known_tokens``, the vocabulary of all nights. New tokens are numbered by how
    many items carry them, then by text. A word of a title is a token from ``min_token_items`` items on; a category
    token is the whole path down to its level.
    """
    counted = Step("counted", ("field", "token"), ("tokens",), _counted(statistics))
    return Kernel("metadata_vocabulary", (counted, Step("numbered", (), ("counted",), _numbered(day))))


ITEM_TOKENS: Final = r"""
    with item_tokens as (
        select item_id, 'item' as field, item_id as token from files
        union all
        select item_id, 'title', unnest(list_distinct(string_split_regex(lower(title), '[^\p{L}\p{N}]+'))) from files
        union all
        select item_id, 'brand', brand from files
        union all
        select item_id, 'category_' || level, array_to_string(category[:level], ' > ')
        from (select item_id, category, unnest(range(1, len(category) + 1)) as level from files)
        union all
        select item_id, 'attribute:' || entry.key, unnest(list_distinct(entry.value))
        from (select item_id, unnest(map_entries(attributes)) as entry from files)
    )
    select item_id, field, token from item_tokens where token <> ''
"""
"""SELECT of the tokens of each item, each once; reads ``files`` of the table ``items``."""

TOKENS: Final = f"select field, token from ({ITEM_TOKENS})"
"""The same without the item."""


def _counted(statistics: Statistics) -> str:
    return f"""
        select field, token, count(*) as count from tokens group by field, token
        having field <> 'title' or count(*) >= {statistics.min_token_items}
    """


def _numbered(day: date) -> str:
    return f"""
        with highest as (
            select field, max(number) as number from known_tokens group by field
        ), fresh as (
            select field, token, count, coalesce(highest.number, {FIRST_NUMBER - 1}) + row_number() over (
                partition by field order by count desc, token
            ) as number
            from counted anti join known_tokens using (field, token) left join highest using (field)
        )
        select {quote(day)}::date as first_night, field, token, number, count from fresh
        union all
        select first_night, field, token, number, count from known_tokens where first_night = {quote(day)}::date
        order by field, number
    """


def vocabulary_hash(con: duckdb.DuckDBPyConnection) -> str:
    """SHA-256 over field, token and number of all rows of the relation ``metadata_vocabulary``.

    A checkpoint fits every night with the same numbers.
    """
    digest = hashlib.sha256()
    rows = con.execute(
        "select to_json([field, token, number::varchar]) from metadata_vocabulary order by field, number"
    )
    while batch := rows.fetchmany(100_000):
        digest.update("\n".join(row[0] for row in batch).encode())
        digest.update(b"\n")
    return digest.hexdigest()
