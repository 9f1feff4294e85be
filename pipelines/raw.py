"""Raw files as a relation of text: ``source_row``, ``raw_row``, ``is_malformed`` and the columns that were asked for.

Everything is text here. What a column means is decided by the transforms that read the relation.
"""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow.parquet as pq

from pipelines.engine import identifier, quote, quote_path
from pipelines.errors import InputError
from pipelines.settings import Format
from pipelines.sources import unpack

MAX_ROW_BYTES: Final = 16 * 1024 * 1024


@contextmanager
def plain_file(form: Format, origin: Path, scratch: Path, section: str) -> Iterator[Path]:
    """Give a raw file without its compression, and remove what was unpacked at the end.

    Inside the block a complaint of DuckDB becomes an ``InputError`` that names the file and the settings' section.
    """
    plain = unpack(origin, scratch)
    try:
        yield plain
    except duckdb.Error as error:
        raise InputError(
            "the raw file cannot be read",
            where=origin,
            value=str(error).splitlines()[0],
            allowed=f"a complete {form.format} file that fits {section} in the settings",
            fix="mend the file or the settings, then run the night again",
        ) from error
    finally:
        if plain != origin:
            plain.unlink()


def read_raw(con: duckdb.DuckDBPyConnection, form: Format, path: Path, origin: Path, columns: Sequence[str]) -> str:
    """SELECT over one unpacked raw file.

    ``origin`` is the path that errors name. A column is named as ``raw_column`` says; each value is text, with blank
    turned into null; arrays and objects are JSON text. ``source_row`` counts data rows from 1. A row that cannot be
    parsed is malformed and has null columns. Raises ``InputError`` when the file has not a column that was asked for.
    """
    return _READERS[form.format](con, form, path, origin, sorted(set(columns)))


def raw_column(name: str) -> str:
    """Identifier of a raw column in the relation: in hex, for raw names may be ours, or differ in case alone."""
    return identifier(f"raw:{name.encode().hex()}")


def _read_csv(con: duckdb.DuckDBPyConnection, form: Format, path: Path, origin: Path, columns: Sequence[str]) -> str:
    # Strict, or a row with too many fields would lose some in silence; but strict parsing cannot do mixed line ends.
    header = _csv_header(path, origin, form.delimiter)
    _require_columns(header, columns, origin)
    types = "{" + ", ".join(f"'field:{n}': 'varchar'" for n in range(len(header))) + "}"
    options = f"header = true, delim = {quote(form.delimiter)}, quote = '\"', escape = '\"', strict_mode = true"
    with _even_line_ends(con, path) as even:
        _scan_text(con, even, types, options, "*", num_header_lines=1)
    fields = [identifier(f"field:{n}") for n in range(len(header))]
    values = ", ".join(f"nullif(trim({fields[header.index(name)]}), '') as {raw_column(name)}" for name in columns)
    return f"""
        select source_row, {_json_row(header, fields)} as raw_row, false as is_malformed, {values}
        from ({_numbered(con)})
        union all
        select source_row, raw_row, true, {_nulls(columns)} from raw_malformed
    """


@contextmanager
def _even_line_ends(con: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Path]:
    """The file, or if its line ends are mixed a copy with line feeds alone, which lies where DuckDB may spill."""
    if not _has_mixed_line_ends(path):
        yield path
        return
    row = con.execute("select current_setting('temp_directory')").fetchone()
    assert row is not None
    with tempfile.NamedTemporaryFile("w", encoding="latin-1", newline="", dir=row[0], suffix=".csv") as even:
        with path.open(encoding="latin-1") as uneven:  # a byte is a character, and any line end is read as \n
            shutil.copyfileobj(uneven, even, 1 << 20)
        even.flush()
        yield Path(even.name)


def _has_mixed_line_ends(path: Path) -> bool:
    """Tell whether a file has two of: line feeds, carriage returns, pairs of both; also within quotes."""
    kinds = set()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            chunk += file.read(1) if chunk.endswith(b"\r") else b""
            num_pairs = chunk.count(b"\r\n")
            counts = {
                "pair": num_pairs,
                "feed": chunk.count(b"\n") - num_pairs,
                "return": chunk.count(b"\r") - num_pairs,
            }
            kinds |= {kind for kind, number in counts.items() if number}
            if len(kinds) > 1:
                return True
    return False


def _json_row(names: Sequence[str], columns: Sequence[str]) -> str:
    """The whole row as JSON text; names may be empty or differ in case alone, which a struct does not allow."""
    return f"json_object({', '.join(f'{quote(n)}, {c}' for n, c in zip(names, columns, strict=True))})::varchar"


def _scan_text(
    con: duckdb.DuckDBPyConnection, path: Path, types: str, options: str, select: str, num_header_lines: int
) -> None:
    """Read a text file into the tables raw_accepted (with row:n, the number among accepted rows) and raw_malformed."""
    con.execute("drop table if exists raw_rejects; drop table if exists raw_reject_scans")
    con.execute(f"""
        create or replace temp table raw_accepted as
        select row_number() over () as "row:n", {select}
        from read_csv({quote_path(path)}, columns = {types}, {options}, auto_detect = false, hive_partitioning = false,
            max_line_size = {MAX_ROW_BYTES}, ignore_errors = true, store_rejects = true, rejects_limit = 0,
            rejects_table = 'raw_rejects', rejects_scan = 'raw_reject_scans')
    """)
    con.execute(f"""
        create or replace temp table raw_malformed as
        select line - {num_header_lines} as source_row, trim(any_value(csv_line), chr(13) || chr(10)) as raw_row
        from raw_rejects group by line
    """)


def _numbered(con: duckdb.DuckDBPyConnection) -> str:
    """SELECT of raw_accepted with the number of each row in the file, source_row.

    Malformed rows keep their own numbers and the accepted ones fill the rest: with malformed rows r_1 < r_2 < ... there
    are r_j - j accepted rows before r_j. Without any, which is the rule, there is nothing to join: it would sort.
    """
    if con.execute("select exists (from raw_malformed)").fetchone() != (True,):
        return 'select *, "row:n" as source_row from raw_accepted'
    return """
        select *, "row:n" + coalesce("row:num_malformed_before", 0) as source_row
        from raw_accepted asof left join (
            select source_row - j as "row:num_accepted_before", max(j) as "row:num_malformed_before"
            from (select source_row, row_number() over (order by source_row) as j from raw_malformed)
            group by all
        ) on "row:n" > "row:num_accepted_before"
    """


def _csv_header(path: Path, origin: Path, delimiter: str) -> list[str]:
    """Names of the columns; an empty one is kept, for it cannot be mapped and does no harm."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header = next(csv.reader(file, delimiter=delimiter), [])
        "".join(header).encode()
    except (UnicodeEncodeError, csv.Error) as error:
        raise _no_header(origin, str(error)) from error
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated or not header:
        raise _no_header(origin, f"columns that repeat: {repeated}" if header else "an empty first line")
    return header


def _no_header(origin: Path, value: str) -> InputError:
    return InputError(
        "the first line is no header",
        where=origin,
        value=value,
        allowed="UTF-8 text, one distinct name a column",
        fix="write the file with a header line",
    )


def _require_columns(present: Sequence[str], wanted: Sequence[str], origin: Path) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise InputError(
            "a mapped column is missing",
            where=origin,
            value=", ".join(missing),
            allowed=", ".join(present),
            fix="correct the column mapping in the settings, or deliver the file with that column",
        )


_IS_NOT_BLANK: Final = "(is_object or trim(raw_row) <> '')"
"""Tells a JSON line that is a row; an object is one, and to trim it, which is long, would take time."""


def _read_json(con: duckdb.DuckDBPyConnection, form: Format, path: Path, origin: Path, columns: Sequence[str]) -> str:
    # A JSON line is read as a CSV of one column, so that the text of a broken line is kept for the quarantine.
    paths = ", ".join(quote(_json_path(name)) for name in columns)
    with _even_line_ends(con, path) as even:
        _scan_text(
            con,
            even,
            "{'raw_row': 'varchar'}",
            "header = false, delim = '', quote = '', escape = '', strict_mode = false",
            f"""raw_row, case when json_valid(raw_row) then json_type(raw_row) = 'OBJECT' else false end as is_object,
                case when is_object then json_extract_string(raw_row, [{paths}]) end as fields""",
            num_header_lines=0,
        )
    _require_rows(con, origin)
    _require_json_columns(con, columns, origin)
    fields = ", ".join(f"nullif(trim(fields[{i}]), '') as {raw_column(name)}" for i, name in enumerate(columns, 1))
    return f"""
        select source_row, raw_row, not is_object as is_malformed, {fields}
        from ({_numbered(con)}) where {_IS_NOT_BLANK}
        union all
        select source_row, raw_row, true, {_nulls(columns)} from raw_malformed
    """


def _require_rows(con: duckdb.DuckDBPyConnection, origin: Path) -> None:
    """Refuse a file that is nothing but blank lines: a day without events has no file, or events of another day."""
    has_rows = f"select exists (from raw_malformed) or exists (from raw_accepted where {_IS_NOT_BLANK})"
    if con.execute(has_rows).fetchone() != (True,):
        raise InputError(
            "the file is empty",
            where=origin,
            value="blank lines alone",
            allowed="at least one row",
            fix="deliver the file again, or none for a day without events",
        )


def _json_path(name: str) -> str:
    """JSON path of a dotted name; each part is quoted, so that any character may stand in a key."""
    return "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in name.split("."))


def _require_json_columns(con: duckdb.DuckDBPyConnection, columns: Sequence[str], origin: Path) -> None:
    """Refuse a file in which a key never stands. A key that is always null is there, and is for the checks to judge."""
    counts = ", ".join(f"count(fields[{i}])" for i in range(1, len(columns) + 1))
    found = con.execute(f"select {counts}, count(*) from raw_accepted where is_object").fetchone()
    assert found is not None
    empty = [name for name, number in zip(columns, found[:-1], strict=True) if not number]
    if not empty or not found[-1]:
        return
    exists = ", ".join(f"coalesce(bool_or(json_exists(raw_row, {quote(_json_path(name))})), false)" for name in empty)
    there = con.execute(f"select {exists} from raw_accepted where is_object").fetchone()
    assert there is not None
    if not all(there):
        keys = con.execute("select json_keys(raw_row) from raw_accepted where is_object limit 1").fetchone()
        missing = [name for name, exists_ in zip(empty, there, strict=True) if not exists_]
        _require_columns(keys[0] if keys else [], missing, origin)


def _read_parquet(
    con: duckdb.DuckDBPyConnection, form: Format, path: Path, origin: Path, columns: Sequence[str]
) -> str:
    try:
        header = pq.read_schema(path).names
    except (OSError, ValueError) as error:
        raise InputError(
            "the file is no Parquet, or is damaged",
            where=origin,
            value=error,
            allowed="a complete Parquet file",
            fix="deliver the file again",
        ) from error
    _require_columns(header, columns, origin)
    scan = f"read_parquet({quote_path(path)}, hive_partitioning = false"
    # DuckDB renames columns that differ in case alone: their places tell which is which.
    fields = [identifier(row[0]) for row in con.execute(f"describe select * from {scan})").fetchall()]
    values = ", ".join(
        f"nullif(trim({_as_text(fields[header.index(name)])}), '') as {raw_column(name)}" for name in columns
    )
    return f"""
        select file_row_number + 1 as source_row, {_json_row(header, fields)} as raw_row, false as is_malformed,
            {values}
        from {scan}, file_row_number = true)
    """


def _as_text(column: str) -> str:
    """Text of a column of any type; lists and structs become JSON."""
    nested = f"regexp_matches(typeof({column}), '\\[|STRUCT|MAP')"
    return f"case when {nested} then to_json({column})::varchar else {column}::varchar end"


def _nulls(columns: Sequence[str]) -> str:
    return ", ".join(f"cast(null as varchar) as {raw_column(name)}" for name in columns)


_READERS: Final[dict[str, Callable[..., str]]] = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet}
