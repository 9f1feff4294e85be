"""The metadata vocabulary: every token of every item field gets a number that it keeps for ever.

0 is padding and 1 is unknown in every field, so numbers start at 2. Models know items and metadata by these numbers
alone; a new night only appends.
"""

import hashlib
from datetime import date
from typing import Final

import duckdb

from pipelines.engine import quote
from pipelines.settings import Statistics

FIRST_NUMBER: Final = 2


def vocabulary_sql(statistics: Statistics, day: date) -> str:
    """SELECT of ``metadata_vocabulary``; reads ``items`` of the night and ``previous_metadata_vocabulary``.

    New tokens are numbered by how many items carry them, then by text. A word of a title is taken from
    ``min_token_items`` items on; a category token is the whole path down to its level.
    """
    return f"""
        with tokens as (
            {_TOKENS}
        ), counted as (
            select field, token, count(distinct item_id) as count from tokens where token <> '' group by field, token
        ), joined as (
            select field, token, coalesce(c.count, 0) as count, p.number, p.first_night
            from counted as c full join previous_metadata_vocabulary as p using (field, token)
            where p.number is not null or field <> 'title' or c.count >= {statistics.min_token_items}
        )
        select {quote(day)}::date as as_of_date, field, token, count,
            coalesce(number, coalesce(max(number) over (partition by field), {FIRST_NUMBER - 1}) + row_number() over (
                partition by field, number is null order by count desc, token
            )) as number,
            coalesce(first_night, {quote(day)}::date) as first_night
        from joined order by field, number
    """


_TOKENS: Final = r"""
            select 'item' as field, item_id as token, item_id from items
            union all
            select 'title', unnest(string_split_regex(lower(title), '[^\p{L}\p{N}]+')), item_id from items
            union all
            select 'brand', brand, item_id from items
            union all
            select 'category_' || level, array_to_string(category[:level], ' > '), item_id
            from (select item_id, category, unnest(range(1, len(category) + 1)) as level from items)
            union all
            select 'attribute:' || entry.key, unnest(entry.value), item_id
            from (select item_id, unnest(map_entries(attributes)) as entry from items)
"""


def vocabulary_hash(con: duckdb.DuckDBPyConnection) -> str:
    """SHA-256 over field, token and number of all rows of the relation ``metadata_vocabulary``.

    Counts do not take part: a checkpoint fits every night with the same numbers.
    """
    digest = hashlib.sha256()
    rows = con.execute(
        "select to_json([field, token, number::varchar]) from metadata_vocabulary order by field, number"
    )
    while batch := rows.fetchmany(100_000):
        digest.update("\n".join(row[0] for row in batch).encode())
        digest.update(b"\n")
    return digest.hexdigest()
