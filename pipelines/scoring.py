"""Write the tables that are served: recommendations for every active subject, related items for every listed item.

Subjects are scored in chunks and streamed to Parquet, so memory does not grow with the rows that are written. It holds
the training data once, to count what is popular for the fallback.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.recommender import Recommender
from models.sequences import Sequences
from pipelines.contracts import CONTRACTS
from pipelines.engine import ROW_GROUP_SIZE, create_views, describe_part, part_path, quote, scan_parts, scan_table
from pipelines.night import Night
from pipelines.ranking import FROM_MODEL, REASONS, Lists, fit_fallback, rank
from pipelines.store import Part, Write
from pipelines.training import CHECKPOINTS, SERVING, load_model
from pipelines.training_data import Vocabulary, load_training_data, load_vocabulary, to_sequences

CHUNK_SUBJECTS: Final = 20_000


def subjects_sql(night: Night) -> str:
    """SELECT of the subjects that get a list; reads ``sessions``.

    Users with any event in the last ``active_days``, and the anonymous source sessions of the night itself.
    """
    since = quote(night.day - timedelta(days=night.settings.recommendations.active_days - 1))
    zone = quote(night.settings.nights.time_zone)
    return f"""
        select distinct 'user' as subject_type, user_id as subject_id from sessions
        where user_id is not null and timezone({zone}, ended_at)::date >= {since}::date
        union all
        select distinct 'session', source_session from sessions
        where user_id is null and timezone({zone}, ended_at)::date >= {quote(night.day)}::date
    """


def build_recommendations(night: Night) -> list[Write]:
    """Rank ``k`` items for every active subject, by every model."""
    with night.connect() as con:
        _collect_histories(con, night)
        return _build(night, "recommendations", partial(_recommendations, con))


def build_related_items(night: Night) -> list[Write]:
    """Rank ``related_k`` items beside every listed item, by every model."""
    return _build(night, "related_items", _related_items)


@dataclass(frozen=True)
class Scorer:
    """A model ready to rank: with its fallback, the items, and the versions that every row carries."""

    night: Night
    model: Recommender
    fallback: Recommender
    vocabulary: Vocabulary
    versions: Mapping[str, str]

    def rank(self, histories: Sequences, k: int, *, exclude_seen: bool) -> Lists:
        """Full lists of listed items."""
        allowed = self.vocabulary.is_listed
        return rank(self.model, self.fallback, histories, k, allowed, exclude_seen=exclude_seen)


def _build(night: Night, table: str, batches: Callable[[Scorer], Iterator[pa.Table]]) -> list[Write]:
    vocabulary = load_vocabulary(night)
    fallback = fit_fallback(load_training_data(night).everything, vocabulary.num_items)
    folder = night.store.run_folder(night.run_id, table)
    parts: list[Part] = []
    for name in night.settings.training.models:
        model = load_model(night, name, SERVING, vocabulary, latest_as_of=night.day)
        assert model is not None, f"{name} has no serving chain"
        scorer = Scorer(night, model, fallback, vocabulary, _versions(night, name, vocabulary))
        path = part_path(folder, night.day, name)
        with pq.ParquetWriter(path, CONTRACTS[table].schema, compression="zstd") as writer:
            for batch in batches(scorer):
                writer.write_table(batch, row_group_size=ROW_GROUP_SIZE)
        parts.append(describe_part(night.store, path, night.day, name))
    return [Write(table, tuple(parts), frozenset({night.day.isoformat()}))]


def _versions(night: Night, name: str, vocabulary: Vocabulary) -> dict[str, str]:
    """What a row was made from: hashes of the checkpoint, of the data, and of the settings that shape the lists."""
    (model,) = (part.sha256 for part in night.current(CHECKPOINTS) if part.slice == name)
    data = "".join(part.sha256 for part in night.current("training_sequences")) + vocabulary.content_hash
    rules = night.settings.recommendations.model_dump_json(exclude={"serve"})
    return {
        "model_version": model[:12],
        "data_version": hashlib.sha256(data.encode() + vocabulary.is_listed.tobytes()).hexdigest()[:12],
        "rule_version": hashlib.sha256(rules.encode()).hexdigest()[:12],
    }


def _collect_histories(con: duckdb.DuckDBPyConnection, night: Night) -> None:
    """Create the table ``histories``: subjects in order with their whole history, empty lists if there is none."""
    sequences = scan_parts(night.store, "training_sequences", night.current("training_sequences"))
    create_views(
        con, {"sessions": scan_table(night.store, "sessions", until=night.day), "training_sequences": sequences}
    )
    con.execute(f"""
        create temp table histories as
        select subject_type, subject_id,
            coalesce(flatten(list(item_numbers order by event_times[1]) filter (item_numbers is not null)), [])
                as item_numbers,
            coalesce(flatten(list(event_times order by event_times[1]) filter (event_times is not null)), [])
                as event_times
        from ({subjects_sql(night)}) left join training_sequences using (subject_type, subject_id)
        group by subject_type, subject_id order by subject_type, subject_id
    """)


def _recommendations(con: duckdb.DuckDBPyConnection, scorer: Scorer) -> Iterator[pa.Table]:
    """Rows for ``CHUNK_SUBJECTS`` subjects at a time."""
    settings = scorer.night.settings.recommendations
    for batch in con.sql("from histories").to_arrow_reader(CHUNK_SUBJECTS):
        subjects = pa.Table.from_batches([batch])
        histories = to_sequences(subjects["item_numbers"], subjects["event_times"])
        lists = scorer.rank(histories, settings.k, exclude_seen=settings.exclude_seen)
        named = {name: subjects[name] for name in ("subject_type", "subject_id")}
        yield _rows(scorer, "recommendations", lists, named, "item_id")


def _related_items(scorer: Scorer) -> Iterator[pa.Table]:
    """An item's related items are what the model ranks after a history of that item alone, itself barred."""
    listed = np.flatnonzero(scorer.vocabulary.is_listed).astype(np.int32)
    for start in range(0, len(listed), CHUNK_SUBJECTS):
        items = listed[start : start + CHUNK_SUBJECTS]
        histories = Sequences(items, np.zeros(len(items), np.int64), np.arange(len(items) + 1))
        lists = scorer.rank(histories, scorer.night.settings.recommendations.related_k, exclude_seen=True)
        lists.items[lists.items == items[:, None]] = 0
        named = {"item_id": scorer.vocabulary.item_ids.take(pa.array(items))}
        yield _rows(scorer, "related_items", lists, named, "related_item_id")


def _rows(scorer: Scorer, table: str, lists: Lists, subjects: Mapping[str, pa.Array], item_column: str) -> pa.Table:
    """Lists as rows of a table: slots that nothing could fill are left out."""
    row, slot = np.nonzero(lists.items)
    reasons = lists.reasons[row, slot]
    constants = {"as_of_date": scorer.night.day, "model": scorer.model.name, **scorer.versions}
    columns = {
        **{name: column.take(pa.array(row)) for name, column in subjects.items()},
        "rank": (slot + 1).astype(np.int32),
        item_column: scorer.vocabulary.item_ids.take(pa.array(lists.items[row, slot])),
        "score": lists.scores[row, slot],
        "source": pa.array(_SOURCES).take(pa.array(reasons)),
        "reason": pa.array((scorer.model.reason, *REASONS[1:])).take(pa.array(reasons)),
        **{name: pa.repeat(pa.scalar(value), len(row)) for name, value in constants.items()},
    }
    schema = CONTRACTS[table].schema
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


_SOURCES: Final = tuple("model" if reason == FROM_MODEL else "fallback" for reason in REASONS)
