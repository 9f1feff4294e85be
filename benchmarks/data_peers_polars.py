"""Peers of our kernels in polars: lazy frames in the streaming engine, which takes to memory what it cannot stream.

No former night, no chunks of days, no order of the rows, one file a table (``ingest``: one a day). Polars has no MD5,
so ``sessions`` have no id; it cannot say whether a line is JSON, so a broken one is told by its end; and the hash of a
log is Python's.
"""

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.data_inputs import Inputs
from pipelines.neighbours import NUM_CANDIDATES
from pipelines.settings import Settings

Peer = Callable[[Inputs], None]
SUBJECT: Final = ("subject_type", "subject_id")
LINE: Final = pl.Struct(dict.fromkeys(("user", "session", "item", "time", "event"), pl.String))


def run(kernel: str, inputs: Inputs) -> None:
    """Compute a kernel's tables."""
    _PEERS[kernel](inputs)


def _write(inputs: Inputs, table: str, rows: pl.LazyFrame) -> None:
    rows.sink_parquet(inputs.file(table), compression="zstd", maintain_order=False, engine="streaming")


def _ingest(inputs: Inputs) -> None:
    known = pl.concat(
        [
            pl.scan_ndjson(path, schema={"id": pl.String}).with_columns(day=day)
            for day, path in inputs.catalogues.items()
        ]
    )
    known_from = known.group_by(item_id="id").agg(known_from=pl.col("day").min()).collect(engine="streaming").lazy()
    for day, path in inputs.logs.items():
        rows = _judged(inputs.settings, path, day, known_from).collect(engine="streaming")
        rows = rows.with_columns(file_date=day, source_file=pl.lit(inputs.name_of(path)))
        accepted, rejected = rows.filter(pl.col("reason").is_null()), rows.filter(pl.col("reason").is_not_null())
        result = {
            "interactions": accepted.select(
                "event_date", "user_id", "item_id", "event_time", "event_type", "weight", "source_session",
                "source_file", "source_row",
            ),
            "quarantine": rejected.select("file_date", "source_file", "source_row", "reason", raw_row="line"),
            "item_observations": _observed(accepted, day),
            "source_files": _ledger(rows, path),
        }  # fmt: skip
        for table, frame in result.items():
            frame.write_parquet(inputs.file(table, str(day)), compression="zstd")


def _judged(settings: Settings, path: Path, day: date, known_from: pl.LazyFrame) -> pl.LazyFrame:
    field = pl.when(pl.col("line").str.ends_with("}")).then(pl.col("line")).str.json_decode(LINE)
    weights = {kind.name: kind.weight for kind in settings.events.event_types}
    lines = pl.scan_csv(
        path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"], row_index_name="source_row",
        row_index_offset=1,
    )  # fmt: skip
    named = lines.with_columns(field=field).with_columns(
        user_id=_text("user"),
        source_session=_text("session"),
        item_id=_text("item"),
        time_text=_text("time"),
        event_type=_text("event"),
    )
    typed = named.with_columns(
        event_time=pl.col("time_text").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False
        ),
        weight=pl.col("event_type").replace_strict(weights, default=None, return_dtype=pl.Float64),
        is_repeated=~pl.col("line").is_first_distinct(),
    )
    dated = typed.with_columns(event_date=pl.col("event_time").dt.date()).join(known_from, on="item_id", how="left")
    return dated.with_columns(reason=_reason(day, settings.events.lateness_days))


def _text(name: str) -> pl.Expr:
    value = pl.col("field").struct.field(name).str.strip_chars(" ")
    return pl.when(value != "").then(value)


def _reason(day: date, lateness_days: int) -> pl.Expr:
    reasons: list[tuple[str, pl.Expr]] = [
        ("malformed_row", pl.col("field").is_null()),
        ("missing_item", pl.col("item_id").is_null()),
        ("missing_time", pl.col("time_text").is_null()),
        ("unreadable_time", pl.col("event_time").is_null()),
        ("missing_user", pl.col("user_id").is_null() & pl.col("source_session").is_null()),
        ("unknown_event_type", pl.col("weight").is_null()),
        ("in_the_future", pl.col("event_date") > day),
        ("too_late", pl.col("event_date") < day - timedelta(days=lateness_days)),
        ("unknown_item", (pl.col("known_from") > day).fill_null(True)),
        ("identical_row", pl.col("is_repeated")),
    ]
    return pl.coalesce(pl.when(test).then(pl.lit(name)) for name, test in reasons)


def _observed(accepted: pl.DataFrame, day: date) -> pl.DataFrame:
    empty = {name: pl.lit(None, pl.String) for name in ("title", "description", "category", "brand", "price")}
    return accepted.group_by("item_id").agg(observed_at=pl.col("event_time").max()).with_columns(file_date=day, **empty)


def _ledger(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return rows.group_by("file_date", "source_file").agg(
        sha256=pl.lit(digest),
        num_bytes=pl.lit(path.stat().st_size),
        num_rows=pl.len(),
        num_interactions=pl.col("reason").null_count(),
        num_quarantined=pl.col("reason").count(),
    )


def _sessions(inputs: Inputs) -> None:
    rules = inputs.settings.sessions
    key, order = ["user_id", "source_session"], ["event_time", "source_file", "source_row"]
    events = pl.scan_parquet(inputs.paths["interactions"]).sort(*key, *order).with_row_index("n")
    is_new = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in key)
    pause = pl.col("event_time").diff() > timedelta(minutes=rules.gap_minutes)
    day, former = pl.col("event_date"), pl.col("event_date").shift()
    visits = (
        events.with_columns(is_start=(pl.col("n") == 0) | is_new | pause)
        .with_columns(chain_date=pl.when("is_start").then("event_date").forward_fill())
        .with_columns(is_start=pl.col("is_start") | ((day > former) & (day > pl.col("chain_date").dt.offset_by("1d"))))
        .with_columns(start=pl.when("is_start").then("n").forward_fill())
        .with_columns(begin=pl.col("n") - (pl.col("n") - pl.col("start")) % rules.max_events)
    )
    sessions = visits.group_by("begin").agg(
        session_date=pl.col("event_date").first(),
        user_id=pl.col("user_id").first(),
        source_session=pl.col("source_session").first(),
        started_at=pl.col("event_time").first(),
        ended_at=pl.col("event_time").last(),
        num_events=pl.len().cast(pl.Int32),
        item_ids=pl.col("item_id"),
        event_times=pl.col("event_time"),
        event_types=pl.col("event_type"),
    )
    _write(inputs, "sessions", sessions.drop("begin"))


def _events(inputs: Inputs) -> pl.LazyFrame:
    """All events, one a row."""
    sessions = pl.scan_parquet(inputs.paths["sessions"]).with_columns(position=pl.int_ranges("num_events"))
    return (
        sessions.select(
            "session_id", "user_id", "source_session", "position", item_id="item_ids", event_time="event_times"
        )
        .explode("item_id", "event_time", "position")
        .with_columns(
            subject_type=pl.when(pl.col("user_id").is_null()).then(pl.lit("session")).otherwise(pl.lit("user")),
            subject_id=pl.coalesce("user_id", "source_session"),
        )
    )


def _item_frequency(inputs: Inputs) -> None:
    first = _events(inputs).filter(pl.col("user_id").is_not_null()).group_by("item_id", "user_id")
    _write(inputs, "item_users", first.agg(first_date=pl.col("event_time").min().dt.date()))
    gap = pl.col("event_time").sort().diff().dt.total_microseconds().cast(pl.Int128)
    counted = _events(inputs).group_by("item_id").agg(
        num_events=pl.len().cast(pl.Int64),
        num_users=pl.col("user_id").drop_nulls().n_unique(),
        num_sessions=pl.col("session_id").n_unique(),
        first_seen=pl.col("event_time").min(),
        last_seen=pl.col("event_time").max(),
        squares=(gap * gap).sum(),
    )  # fmt: skip
    span = (pl.col("last_seen") - pl.col("first_seen")).dt.total_microseconds()
    num = pl.col("num_events")
    ranked = (
        counted.with_columns(gap_variance_s2=_variance(num - 1, span, pl.col("squares")) / 1e12)
        .sort("num_events", "item_id", descending=[True, False])
        .with_row_index("popularity_rank", 1)
    )
    share = inputs.settings.statistics.frequent_share
    _write(
        inputs,
        "item_frequency",
        ranked.with_columns(
            as_of_date=inputs.last,
            share=num / num.sum(),
            is_frequent=pl.col("popularity_rank") <= (share * pl.len()).ceil(),
            gap_square_sum_us2=pl.col("squares").cast(pl.Decimal(38, 0)),
        ).drop("squares"),
    )


def _variance(num: pl.Expr, total: pl.Expr, squares: pl.Expr) -> pl.Expr:
    n, t = num.cast(pl.Int128), total.cast(pl.Int128)
    return pl.when(n > 1).then((n * squares - t * t).cast(pl.Float64) / (n * (n - 1)).cast(pl.Float64))


def _interval_uniformity(inputs: Inputs) -> None:
    points = (
        _events(inputs)
        .filter(pl.col("user_id").is_not_null())
        .select("user_id", point=pl.col("event_time").dt.truncate("1s"))
        .unique()
    )
    gap = pl.col("point").sort().diff().dt.total_seconds()
    log_gap = ((1 + gap).log() * 1e9).round().cast(pl.Int128)
    summed = points.group_by("user_id").agg(
        num_gaps=pl.len().cast(pl.Int64) - 1,
        first_point=pl.col("point").min(),
        last_point=pl.col("point").max(),
        squares=(gap.cast(pl.Int128) * gap.cast(pl.Int128)).sum(),
        logs=log_gap.sum(),
        log_squares=(log_gap * log_gap).sum(),
    )
    num, logs = pl.col("num_gaps"), pl.col("logs")
    span = (pl.col("last_point") - pl.col("first_point")).dt.total_seconds()
    some_gaps = pl.when(num > 0).then(num)
    dispersion = _variance(num, logs, pl.col("log_squares")).sqrt() / (logs.cast(pl.Float64) / some_gaps)
    share = inputs.settings.statistics.uniform_share
    is_ranked = pl.col("log_gap_dispersion").is_not_null()
    ranked = (
        summed.with_columns(
            mean_gap_s=span / some_gaps,
            gap_variance_s2=_variance(num, span, pl.col("squares")),
            log_gap_dispersion=dispersion,
        )
        .sort("log_gap_dispersion", "user_id", nulls_last=True)
        .with_row_index("n", 1)
        .with_columns(uniformity_rank=pl.when(is_ranked).then("n"))
    )
    sums = {"gap_square_sum_s2": "squares", "log_gap_sum": "logs", "log_gap_square_sum": "log_squares"}
    _write(
        inputs,
        "interval_uniformity",
        ranked.with_columns(
            as_of_date=inputs.last,
            is_uniform=(pl.col("uniformity_rank") <= (share * is_ranked.sum()).ceil()).fill_null(False),
            **{name: pl.col(of).cast(pl.Decimal(38, 0)) for name, of in sums.items()},
        ).drop("n", *sums.values()),
    )


def _metadata_vocabulary(inputs: Inputs) -> None:
    items = pl.scan_parquet(inputs.paths["items"])
    words = pl.col("title").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+").list.unique()
    attributes = (
        items.select(entry=pl.col("attributes").map.entries()).explode("entry").unnest("entry").explode("value")
    )
    tokens = pl.concat(
        [
            _tokens(items, "item", pl.col("item_id")),
            _tokens(items.select(word=words).explode("word"), "title", pl.col("word")),
            _tokens(items, "brand", pl.col("brand")),
            *(_tokens(items, f"category_{level}", _path(level)) for level in range(1, _num_levels(items) + 1)),
            attributes.select(field="attribute:" + pl.col("key"), token=pl.col("value")),
        ]
    )
    counted = tokens.filter(pl.col("token") != "").group_by("field", "token").agg(count=pl.len())
    is_token = (pl.col("field") != "title") | (pl.col("count") >= inputs.settings.statistics.min_token_items)
    ordered = counted.filter(is_token).sort("field", "count", "token", descending=[False, True, False])
    numbered = ordered.with_columns(first_night=inputs.last, number=2 + pl.int_range(pl.len()).over("field"))
    _write(inputs, "metadata_vocabulary", numbered)


def _tokens(rows: pl.LazyFrame, field: str, token: pl.Expr) -> pl.LazyFrame:
    return rows.select(field=pl.lit(field), token=token)


def _path(level: int) -> pl.Expr:
    return pl.when(pl.col("category").list.len() >= level).then(pl.col("category").list.head(level).list.join(" > "))


def _num_levels(items: pl.LazyFrame) -> int:
    return items.select(pl.col("category").list.len().max()).collect().item() or 0


def _training_sequences(inputs: Inputs) -> None:
    vocabulary = pl.scan_parquet(inputs.paths["metadata_vocabulary"]).filter(pl.col("field") == "item")
    events = _events(inputs).join(vocabulary.select("number", item_id="token"), on="item_id")
    order = ("event_time", "session_id", "position")
    _write(
        inputs,
        "training_sequences",
        events.group_by(pl.col("event_time").dt.date().alias("event_date"), *SUBJECT).agg(
            item_numbers=pl.col("number").sort_by(order), event_times=pl.col("event_time").sort_by(order)
        ),
    )


def _item_neighbours(inputs: Inputs) -> None:
    rules = inputs.settings.statistics
    frequency = pl.scan_parquet(inputs.paths["item_frequency"]).sort("item_id").with_row_index("item")
    items = frequency.select("item", "item_id", variance=pl.col("gap_variance_s2").fill_null(0)).collect().lazy()
    touches = _touches(inputs, items, rules.max_neighbour_items)
    pairs = (
        touches.join(touches, on=SUBJECT, suffix="_b")
        .filter(pl.col("item") < pl.col("item_b"))
        .group_by("item", "item_b")
        .agg(
            num_subjects=pl.len(),
            weight=pl.col("weight").sum(),
            gap=(pl.col("time_s") - pl.col("time_s_b")).abs().sum(),
        )
    )
    both = pl.concat([pairs, pairs.select(pl.col("item_b").alias("item"), pl.col("item").alias("item_b"), *_SUMS)])
    counts = touches.group_by("item").agg(num=pl.len())
    similarity = pl.col("weight") / 1e9 / (pl.col("num").cast(pl.Float64) * pl.col("num_b")).sqrt()
    candidates = _first(
        both.join(counts, on="item")
        .join(counts.select(item_b="item", num_b="num"), on="item_b")
        .with_columns(similarity=similarity, mean_gap_s=pl.col("gap") / pl.col("num_subjects")),
        "similarity",
        NUM_CANDIDATES,
    )
    score = (
        0.4 * pl.col("similarity") / (1 + pl.col("similarity"))
        + 0.8 / (1 + (1 + pl.col("mean_gap_s")).log())
        + 0.5 / (1 + (1 + pl.col("variance")).log())
    )
    named = candidates.join(items.select("item", "item_id"), on="item").join(
        items.select("variance", item_b="item", neighbour_id="item_id"), on="item_b"
    )
    ranked = _first(named.with_columns(score=score), "score", rules.num_neighbours)
    columns = ("item_id", "rank", "neighbour_id", "similarity", "mean_gap_s", "num_subjects", "score")
    _write(inputs, "item_neighbours", ranked.with_columns(as_of_date=inputs.last).select("as_of_date", *columns))


_SUMS: Final = ("num_subjects", "weight", "gap")


def _touches(inputs: Inputs, items: pl.LazyFrame, max_items: int) -> pl.LazyFrame:
    """The newest items of each subject, as numbers, with the weight of the subject."""
    newest = (
        _events(inputs)
        .filter(pl.col("event_time").dt.date() >= inputs.window_first)
        .join(items.select("item_id", "item"), on="item_id")
        .group_by(*SUBJECT, "item")
        .agg(time_s=pl.col("event_time").max().dt.epoch("us") // 1_000_000)
        .sort("time_s", "item", descending=[True, False])
        .group_by(*SUBJECT, maintain_order=True)
        .head(max_items)
    )
    weight = (1e9 / (1 + pl.len()).log()).round().cast(pl.Int64).over(SUBJECT)
    return newest.with_columns(weight=weight).collect(engine="streaming").lazy()


def _first(pairs: pl.LazyFrame, by: str, number: int) -> pl.LazyFrame:
    """The first pairs of each item, with their rank."""
    ordered = pairs.sort("item", by, "item_b", descending=[False, True, False])
    return ordered.with_columns(rank=1 + pl.int_range(pl.len()).over("item")).filter(pl.col("rank") <= number)


_PEERS: Final[dict[str, Peer]] = {
    "ingest": _ingest,
    "sessions": _sessions,
    "item_frequency": _item_frequency,
    "interval_uniformity": _interval_uniformity,
    "metadata_vocabulary": _metadata_vocabulary,
    "training_sequences": _training_sequences,
    "item_neighbours": _item_neighbours,
}
