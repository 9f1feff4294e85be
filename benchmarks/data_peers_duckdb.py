"""Peers of our kernels in plain DuckDB: each table in one statement, as one writes it who has the whole history.

No former night, no chunks of days, no order of the rows, one file a table (``ingest``: one a day). The numbers are the
same, so sums of squares are whole here too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.data_inputs import Inputs
from pipelines.engine import connect, quote, quote_path
from pipelines.neighbours import NUM_CANDIDATES
from pipelines.sessionise import gap_us

Peer = Callable[[duckdb.DuckDBPyConnection, Inputs], None]


def run(kernel: str, inputs: Inputs) -> None:
    """Compute a kernel's tables in a DuckDB with the limits of the settings."""
    with connect(inputs.settings.store, inputs.output / "scratch") as con:
        _PEERS[kernel](con, inputs)


def _write(con: duckdb.DuckDBPyConnection, inputs: Inputs, table: str, select: str, name: str = "all") -> None:
    path = inputs.file(table, name)
    con.execute(f"copy ({select}) to {quote(path)} (format parquet, compression zstd)")


def _files(paths: list[str]) -> str:
    return f"read_parquet([{', '.join(map(quote_path, paths))}])"


def _ingest(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    catalogues = " union all ".join(
        f"select id, {quote(day)}::date as day from read_json({quote(path)})" for day, path in inputs.catalogues.items()
    )
    con.execute(
        f"create temp table known as select id as item_id, min(day) as known_from from ({catalogues}) group by 1"
    )
    for day, path in inputs.logs.items():
        con.execute(_judged(inputs, path, str(day)))
        for table, select in _INGESTED.items():
            _write(con, inputs, table, select.format(day=quote(day), path=quote(path)), str(day))


def _judged(inputs: Inputs, path: Path, day: str) -> str:
    rules = inputs.settings
    weights = ", ".join(f"{quote(kind.name)}: {kind.weight}" for kind in rules.events.event_types)
    return f"""
        create or replace temp table judged as
        with lines as (
            select row_number() over () as source_row, line, json_valid(line) as is_valid
            from read_csv({quote(path)}, columns = {{'line': 'varchar'}}, header = false, delim = chr(1), quote = '',
                escape = '', auto_detect = false)
        ), fields as (
            select *, case when is_valid then json_extract_string(
                line, ['$.user', '$.session', '$.item', '$.time', '$.event']
            ) end as field
            from lines
        ), named as (
            select source_row, line, is_valid, nullif(trim(field[1]), '') as user_id,
                nullif(trim(field[2]), '') as source_session, nullif(trim(field[3]), '') as item_id,
                nullif(trim(field[4]), '') as time_text, try_cast(field[4] as timestamptz) as event_time,
                event_time::date as event_date, field[5] as event_type, map {{{weights}}}[event_type] as weight
            from fields
        ), reasoned as (
            select *, case
                when not is_valid then 'malformed_row'
                when item_id is null then 'missing_item'
                when time_text is null then 'missing_time'
                when event_time is null then 'unreadable_time'
                when user_id is null and source_session is null then 'missing_user'
                when weight is null then 'unknown_event_type'
                when event_date > {quote(day)}::date then 'in_the_future'
                when event_date < {quote(day)}::date - {rules.events.lateness_days} then 'too_late'
                when item_id not in (select item_id from known where known_from <= {quote(day)}::date)
                    then 'unknown_item'
                end as reason
            from named
        )
        select * replace (case
            when reason is null and row_number() over (partition by line order by source_row) > 1 then 'identical_row'
            else reason
        end as reason), {quote(inputs.name_of(path))} as source_file
        from reasoned
    """


_INGESTED: Final = {
    "interactions": """
        select event_date, user_id, item_id, event_time, event_type, weight, source_session, source_file, source_row
        from judged where reason is null
    """,
    "quarantine": """
        select {day}::date as file_date, source_file, source_row, reason, line as raw_row
        from judged where reason is not null
    """,
    "item_observations": """
        select {day}::date as file_date, item_id, max(event_time) as observed_at, null::varchar as title,
            null::varchar as description, null::varchar as category, null::varchar as brand, null::varchar as price
        from judged where reason is null group by item_id
    """,
    "source_files": """
        select {day}::date as file_date, source_file, (select sha256(content) from read_blob({path})) as sha256,
            (select size from read_blob({path})) as num_bytes, count(*) as num_rows,
            count(*) filter (reason is null) as num_interactions, count(reason) as num_quarantined
        from judged group by source_file
    """,
}


def _sessions(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    rules = inputs.settings.sessions
    gap = f"to_microseconds({gap_us(rules)})"
    select = f"""
        with timed as (
            select *, row_number() over visits as n, lag(event_date) over visits as former_date,
                coalesce(event_time > lag(event_time) over visits + {gap}, true) as is_start
            from {_files(inputs.paths["interactions"])}
            window visits as (partition by user_id, source_session order by event_time, source_file, source_row)
        ), dated as (
            select *, max(case when is_start then event_date end) over visits as chain_date from timed
            window visits as (partition by user_id, source_session order by n)
        ), started as (
            select *, max(
                case when is_start or (event_date > former_date and event_date > chain_date + 1) then n end
            ) over visits as start
            from dated window visits as (partition by user_id, source_session order by n)
        ), gathered as (
            select user_id, source_session, (n - start) // {rules.max_events} as piece,
                min(event_date) as session_date, min(event_time) as started_at, max(event_time) as ended_at,
                count(*)::int as num_events, list(item_id order by n) as item_ids,
                list(event_time order by n) as event_times, list(event_type order by n) as event_types
            from started group by user_id, source_session, start, piece
        )
        select * exclude (piece), md5(to_json(
                [user_id, source_session, epoch_us(started_at)::varchar] || if(piece = 0, [], [piece::varchar])
            )::varchar) as session_id
        from gathered
    """
    _write(con, inputs, "sessions", select)


def _events(inputs: Inputs) -> str:
    """SELECT of all events, one a row."""
    return f"""
        select session_id, user_id, source_session, unnest(item_ids) as item_id, unnest(event_times) as event_time,
            unnest(range(num_events)) as position
        from {_files(inputs.paths["sessions"])}
    """


_SUBJECT: Final = """
    case when user_id is null then 'session' else 'user' end as subject_type,
    coalesce(user_id, source_session) as subject_id
"""


def _item_frequency(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    first_days = f"""
        select min(event_time)::date as first_date, item_id, user_id
        from ({_events(inputs)}) where user_id is not null group by item_id, user_id
    """
    _write(con, inputs, "item_users", first_days)
    frequency = f"""
        with events as ({_events(inputs)}), gaps as (
            select item_id, user_id, session_id, event_time,
                epoch_us(event_time) - lag(epoch_us(event_time)) over (partition by item_id order by event_time) as gap
            from events
        ), counted as (
            select item_id, count(*) as num_events, count(distinct user_id) as num_users,
                count(distinct session_id) as num_sessions, min(event_time) as first_seen,
                max(event_time) as last_seen, coalesce(sum(gap::hugeint * gap), 0) as squares
            from gaps group by item_id
        ), measured as (
            select *, {_variance("num_events - 1", "epoch_us(last_seen) - epoch_us(first_seen)", "squares")} / 1e12
                as gap_variance_s2
            from counted
        )
        select {quote(inputs.last)}::date as as_of_date, * exclude (squares),
            squares::decimal(38, 0) as gap_square_sum_us2,
            row_number() over (order by num_events desc, item_id) as popularity_rank,
            num_events / sum(num_events) over () as share,
            popularity_rank <= ceil({inputs.settings.statistics.frequent_share} * count(*) over ()) as is_frequent
        from measured
    """
    _write(con, inputs, "item_frequency", frequency)


def _variance(num: str, total: str, squares: str) -> str:
    n, t = f"({num})::hugeint", f"({total})::hugeint"
    return f"({n} * {squares} - {t} * {t}) / nullif({n} * ({n} - 1), 0)"


def _interval_uniformity(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    select = f"""
        with points as (
            select distinct user_id, date_trunc('second', event_time) as point
            from ({_events(inputs)}) where user_id is not null
        ), gaps as (
            select user_id, point, epoch(point)::bigint - lag(epoch(point)::bigint) over (
                    partition by user_id order by point
                ) as gap, round(ln(1 + gap) * 1e9)::bigint as log_gap
            from points
        ), summed as (
            select user_id, count(gap) as num_gaps, min(point) as first_point, max(point) as last_point,
                coalesce(sum(gap), 0) as span, coalesce(sum(gap::hugeint * gap), 0) as squares,
                coalesce(sum(log_gap), 0) as logs, coalesce(sum(log_gap::hugeint * log_gap), 0) as log_squares
            from gaps group by user_id
        ), measured as (
            select *, span / nullif(num_gaps, 0) as mean_gap_s,
                {_variance("num_gaps", "span", "squares")} as gap_variance_s2,
                sqrt({_variance("num_gaps", "logs", "log_squares")}) / (logs / nullif(num_gaps, 0))
                    as log_gap_dispersion
            from summed
        ), ranked as (
            select *, case when log_gap_dispersion is not null then row_number() over (
                order by log_gap_dispersion nulls last, user_id
            ) end as uniformity_rank
            from measured
        )
        select {quote(inputs.last)}::date as as_of_date, user_id, num_gaps, mean_gap_s, gap_variance_s2,
            log_gap_dispersion, uniformity_rank, coalesce(uniformity_rank <= ceil(
                {inputs.settings.statistics.uniform_share} * count(uniformity_rank) over ()
            ), false) as is_uniform, first_point, last_point, squares::decimal(38, 0) as gap_square_sum_s2,
            logs::decimal(38, 0) as log_gap_sum, log_squares::decimal(38, 0) as log_gap_square_sum
        from ranked
    """
    _write(con, inputs, "interval_uniformity", select)


def _metadata_vocabulary(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    select = rf"""
        with items as (from {_files(inputs.paths["items"])}), tokens as (
            select 'item' as field, item_id as token from items
            union all
            select 'title', unnest(list_distinct(string_split_regex(lower(title), '[^\p{{L}}\p{{N}}]+'))) from items
            union all
            select 'brand', brand from items
            union all
            select 'category_' || level, array_to_string(category[:level], ' > ')
            from (select category, unnest(range(1, len(category) + 1)) as level from items)
            union all
            select 'attribute:' || entry.key, unnest(list_distinct(entry.value))
            from (select unnest(map_entries(attributes)) as entry from items)
        )
        select {quote(inputs.last)}::date as first_night, field, token, count(*) as count,
            1 + row_number() over (partition by field order by count(*) desc, token) as number
        from tokens where token <> '' group by field, token
        having field <> 'title' or count(*) >= {inputs.settings.statistics.min_token_items}
    """
    _write(con, inputs, "metadata_vocabulary", select)


def _training_sequences(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    select = f"""
        with events as (select *, {_SUBJECT} from ({_events(inputs)})), gathered as (
            select event_time::date as event_date, subject_type, subject_id,
                list({{'number': number, 'time': event_time}} order by event_time, session_id, position) as events
            from events join {_files(inputs.paths["metadata_vocabulary"])} on field = 'item' and token = item_id
            group by all
        )
        select event_date, subject_type, subject_id, [e.number for e in events] as item_numbers,
            [e.time for e in events] as event_times
        from gathered
    """
    _write(con, inputs, "training_sequences", select)


def _item_neighbours(con: duckdb.DuckDBPyConnection, inputs: Inputs) -> None:
    rules = inputs.settings.statistics
    select = f"""
        with numbered as (
            select item_id, coalesce(gap_variance_s2, 0) as variance,
                row_number() over (order by item_id)::int as item
            from {_files(inputs.paths["item_frequency"])}
        ), touches as (
            select {_SUBJECT}, item, max(epoch_us(event_time)) // 1_000_000 as time_s
            from ({_events(inputs)}) join numbered using (item_id)
            where event_time::date >= {quote(inputs.window_first)}::date
            group by subject_type, subject_id, item
            qualify row_number() over (partition by subject_type, subject_id order by time_s desc, item)
                <= {rules.max_neighbour_items}
        ), weighted as materialized (
            select *, round(1e9 / ln(1 + count(*) over (partition by subject_type, subject_id)))::bigint as weight
            from touches
        ), items as (
            select item, any_value(item_id) as item_id, any_value(variance) as variance, count(*) as num_touches
            from weighted join numbered using (item) group by item
        ), halves as (
            select a.item as a, b.item as b, count(*) as num_subjects, sum(a.weight)::bigint as weight,
                sum(abs(a.time_s - b.time_s))::bigint as gap_s
            from weighted as a join weighted as b
                on a.subject_type = b.subject_type and a.subject_id = b.subject_id and a.item < b.item
            group by a.item, b.item
        ), pairs as (
            select * from halves
            union all
            select b, a, num_subjects, weight, gap_s from halves
        ), candidates as (
            select a, b, num_subjects, gap_s / num_subjects as mean_gap_s,
                weight / 1e9 / sqrt(ia.num_touches::double * ib.num_touches) as similarity
            from pairs join items as ia on a = ia.item join items as ib on b = ib.item
            qualify row_number() over (partition by a order by similarity desc, b) <= {NUM_CANDIDATES}
        ), scored as (
            select a, b, ia.item_id, ib.item_id as neighbour_id, num_subjects, mean_gap_s, similarity,
                0.4 * similarity / (1 + similarity) + 0.8 / (1 + ln(1 + mean_gap_s))
                    + 0.5 / (1 + ln(1 + ib.variance)) as score
            from candidates join items as ia on a = ia.item join items as ib on b = ib.item
        )
        select {quote(inputs.last)}::date as as_of_date, * exclude (a, b),
            row_number() over (partition by a order by score desc, b) as rank
        from scored qualify rank <= {rules.num_neighbours}
    """
    _write(con, inputs, "item_neighbours", select)


_PEERS: Final[dict[str, Peer]] = {
    "ingest": _ingest,
    "sessions": _sessions,
    "item_frequency": _item_frequency,
    "interval_uniformity": _interval_uniformity,
    "metadata_vocabulary": _metadata_vocabulary,
    "training_sequences": _training_sequences,
    "item_neighbours": _item_neighbours,
}
