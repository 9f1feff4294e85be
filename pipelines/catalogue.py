"""The state of all items as of a night: the newest catalogue, what the logs say, and the items of the night before.

Without a catalogue, the items are those that the logs name. An item that left the catalogue stays known, but is no
longer listed, and is not recommended.
"""

from datetime import date
from pathlib import Path
from typing import Final

import duckdb

from pipelines.engine import quote
from pipelines.errors import InputError
from pipelines.ingest import ITEM_PROPERTIES
from pipelines.raw import plain_file, raw_column, read_raw
from pipelines.settings import Catalogue, Settings
from pipelines.sources import day_files

CATALOGUE_SLICE: Final = "catalogue"


def load_catalogue(con: duckdb.DuckDBPyConnection, settings: Settings, day: date, scratch: Path) -> None:
    """Read the catalogue of a night into the table ``listed``; its rejected rows go to ``catalogue_rejected``.

    Without a catalogue in the settings both tables are empty. Raises ``InputError`` for a file that cannot be read or
    has no ids.
    """
    con.execute(_EMPTY_TABLES)
    if settings.catalogue is None:
        return
    for name in _newest_files(settings.catalogue, settings.folder, day):
        _load_file(con, settings.catalogue, settings.path_of(name), name, scratch)
    _require_ids(con, settings)
    con.execute(_LISTED)


def _newest_files(catalogue: Catalogue, folder: Path, day: date) -> list[str]:
    files = day_files(catalogue.path, folder)
    days = [d for d in files if d <= day]
    if not days:
        raise InputError(
            "there is no catalogue for the night yet",
            where=folder / catalogue.path,
            value=f"night {day}, oldest catalogue {min(files)}",
            allowed="a catalogue file of that day or an earlier one",
            fix="deliver it, or start with a later night",
        )
    return files[max(days)]


_COLUMNS: Final = "item_id, title, description, category, brand, price"
_EMPTY_TABLES: Final = """
    create or replace temp table catalogue_rows (
        source_file varchar, source_row bigint, raw_row varchar, is_malformed boolean, item_id varchar,
        title varchar, description varchar, category varchar, brand varchar, price varchar,
        attributes map(varchar, varchar[])
    );
    create or replace temp table catalogue_rejected (
        source_file varchar, source_row bigint, reason varchar, raw_row varchar
    );
    create or replace temp table listed as select * from catalogue_rows
"""

# An item twice in the catalogue: the first row counts, so that the order of the file decides.
_LISTED: Final = """
    create or replace temp table judged_catalogue as
    select *, case
        when is_malformed then 'malformed_row'
        when item_id is null then 'missing_item'
        when row_number() over (partition by item_id order by source_file, source_row) > 1 then 'repeated_item'
    end as reason
    from catalogue_rows;
    insert into catalogue_rejected by name
    select source_file, source_row, reason, raw_row from judged_catalogue where reason is not null;
    insert into listed by name select * exclude (reason) from judged_catalogue where reason is null
"""


def _load_file(con: duckdb.DuckDBPyConnection, catalogue: Catalogue, origin: Path, name: str, scratch: Path) -> None:
    columns = catalogue.columns
    mapped = {p: getattr(columns, p) for p in ITEM_PROPERTIES if getattr(columns, p)}
    with plain_file(catalogue, origin, scratch, "[catalogue]") as plain:
        raw = read_raw(con, catalogue, plain, origin, [columns.id, *mapped.values(), *columns.attributes.values()])
        properties = "".join(f", {raw_column(column)} as {name}" for name, column in mapped.items())
        con.execute(f"""
            insert into catalogue_rows by name
            select {quote(name)} as source_file, source_row, raw_row, is_malformed, {raw_column(columns.id)} as item_id
                {properties}, {_attributes(columns.attributes)} as attributes
            from ({raw})
        """)


def _attributes(attributes: dict[str, str]) -> str:
    """A map of name to values; a JSON array is several values."""
    entries = ", ".join(
        f"{{'k': {quote(name)}, 'v': {_values(raw_column(column))}}}" for name, column in sorted(attributes.items())
    )
    if not entries:
        return "map {}::map(varchar, varchar[])"
    return f"map_from_entries(list_filter([{entries}], lambda entry: entry.v is not null))"


def _values(column: str) -> str:
    is_array = f"case when json_valid({column}) then json_type({column}) = 'ARRAY' else false end"
    return f"case when {is_array} then cast({column}::json as varchar[]) when {column} is not null then [{column}] end"


def _require_ids(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    assert settings.catalogue is not None
    row = con.execute(
        "select count(*), count(item_id), any_value(source_file), min(raw_row) from catalogue_rows"
    ).fetchone()
    assert row is not None
    num_rows, num_ids, name, example = row
    if num_ids == 0:
        raise InputError(
            "the catalogue has no ids",
            where=f"{settings.path_of(name or settings.catalogue.path)}, column {settings.catalogue.columns.id}",
            value=f"{num_rows} rows, such as {example}",
            allowed="an id in every row",
            fix="map catalogue.columns.id to the column with the item's id, or deliver a complete catalogue",
        )


def require_prices(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Stop when too many prices of a loaded catalogue are no numbers; a few stay items without a price.

    Raises ``InputError`` beyond ``validation.max_quarantine_share``.
    """
    row = con.execute("""
        select count(*) filter (number is null), count(*),
            arg_min((source_file, source_row, price), source_row) filter (number is null)
        from (select *, try_cast(price as double) as number from catalogue_rows where price is not null)
    """).fetchone()
    assert row is not None
    num_bad, num_prices, example = row
    if num_bad > settings.validation.max_quarantine_share * num_prices:
        source_file, source_row, price = example.values() if isinstance(example, dict) else example
        raise InputError(
            f"{num_bad} of {num_prices} prices in the catalogue are no numbers",
            where=f"{settings.path_of(source_file)}, row {source_row}",
            value=price,
            allowed=f"numbers such as 12.5; at most {settings.validation.max_quarantine_share:.1%} others",
            fix="mend the catalogue, or map catalogue.columns.price to another column",
        )


def items_sql(settings: Settings, day: date) -> str:
    """SELECT of the table ``items`` as of a night.

    Reads ``listed`` (the catalogue), ``observations`` (item_observations since the former night) and
    ``previous_items`` (the snapshot of the former night).
    """
    has_catalogue = settings.catalogue is not None
    separators = (
        settings.catalogue.columns.category_separator if settings.catalogue else ">",
        settings.events.item_columns.category_separator,
    )
    known = {p: _price(p) if p == "price" else p for p in ITEM_PROPERTIES}
    newest = ", ".join(f"arg_max({p}, file_date) filter ({known[p]} is not null) as {p}" for p in ITEM_PROPERTIES)
    texts = ", ".join(f"coalesce(l.{p}, o.{p}, p.{p}) as {p}" for p in ("title", "description", "brand"))
    return f"""
        with o as (
            select item_id, min(file_date) as first_seen, {newest} from observations group by item_id
        ), l as (
            select *, {_path("category", separators[0])} as path from listed
        )
        select {quote(day)}::date as as_of_date, item_id, {texts},
            coalesce(l.path, {_path("o.category", separators[1])}, p.category, []) as category,
            coalesce({_price("l.price")}, {_price("o.price")}, p.price) as price,
            coalesce(l.attributes, p.attributes, map {{}}) as attributes,
            coalesce(p.first_seen, o.first_seen, {quote(day)}::date) as first_seen,
            {"l.source_file is not null" if has_catalogue else "true"} as is_listed
        from l full join o using (item_id) full join previous_items as p using (item_id)
        order by item_id
    """


def _path(column: str, separator: str) -> str:
    """Category path of a text: its parts, trimmed, without empty ones."""
    parts = f"list_transform(string_split({column}, {quote(separator)}), lambda part: trim(part))"
    return f"list_filter({parts}, lambda part: part <> '')"


def _price(column: str) -> str:
    return f"case when isfinite(try_cast({column} as double)) then try_cast({column} as double) end"
