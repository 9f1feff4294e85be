"""The tables that are served: recommendations for every active subject, related items for every listed item.

Both are kernels like the others, whose last step ranks: subjects come in order with their histories, a chunk of them is
ranked, and the rows are streamed to Parquet. So memory does not grow with the rows, and Beam spreads the work.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from models.recommender import Recommender
from models.sequences import Sequences
from pipelines.contracts import CONTRACTS
from pipelines.engine import create_views, quote
from pipelines.kernel import Fold, Kernel, Relation, Step
from pipelines.ledger import read_hashes
from pipelines.night import Night, replace_days
from pipelines.ragged import gather
from pipelines.ranking import FALLBACK_DAYS, FROM_MODEL, REASONS, Lists, count_fallback, rank
from pipelines.runs import starts_of, whole_runs
from pipelines.store import Part, Write
from pipelines.teaching_events import SUBJECT, SUBJECT_KEY
from pipelines.training import CHECKPOINTS, SERVING, load_model
from pipelines.training_data import Vocabulary, history, load_vocabulary

CHUNK_SUBJECTS: Final = 20_000

_log = logging.getLogger("nightly.scoring")


def subjects_sql(night: Night, sessions: str = "sessions") -> str:
    """SELECT of the subjects that get a list; reads ``sessions``, and may name one of them more than once.

    Users with any event in the last ``active_days``, and the anonymous source sessions of the night itself.
    """
    since = quote(night.day - timedelta(days=night.settings.recommendations.active_days - 1))
    zone = quote(night.settings.nights.time_zone)
    return f"""
        select distinct 'user' as subject_type, user_id as subject_id from {sessions}
        where user_id is not null and timezone({zone}, ended_at)::date >= {since}::date
        union all
        select distinct 'session', source_session from {sessions}
        where user_id is null and timezone({zone}, ended_at)::date >= {quote(night.day)}::date
    """


def build_recommendations(night: Night) -> list[Write]:
    """Rank ``k`` items for every active subject, by every model."""
    since = night.day - timedelta(days=night.settings.recommendations.active_days)
    relations = {
        "subjects": night.relation("sessions", subjects_sql(night, "files"), since=since, until=night.day),
        "sequences": history(night),
    }
    return _build(night, "recommendations", relations, SUBJECT, ("subjects", "sequences"), _HISTORIES, _recommend)


def build_related_items(night: Night) -> list[Write]:
    """Rank ``related_k`` items beside every listed item, by every model."""
    relations = {
        "listed": night.relation_of("items", night.current("items"), "select item_id from files where is_listed"),
        "metadata_vocabulary": night.relation("metadata_vocabulary", until=night.day),
    }
    return _build(night, "related_items", relations, ("item_id",), ("listed",), _LISTED_ITEMS, _relate)


_HISTORIES: Final = f"""
    select subject_type, subject_id, subject_key, item_numbers, event_times
    from (select *, {SUBJECT_KEY} as subject_key from (select distinct * from subjects))
        left join sequences using (subject_type, subject_id)
    order by subject_type, subject_id, event_date
"""
_LISTED_ITEMS: Final = """
    select item_id, number from listed join metadata_vocabulary on field = 'item' and token = item_id
    order by number
"""


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


Ranking = Callable[[Scorer, Iterator[pa.RecordBatch]], Iterator[pa.Table]]


def _build(
    night: Night,
    table: str,
    relations: Mapping[str, Relation],
    key: tuple[str, ...],
    split: tuple[str, ...],
    sql: str,
    ranking: Ranking,
) -> list[Write]:
    parts: list[Part] = []
    for name in night.settings.training.models:
        step = Step("ranked", key, split, sql, load=partial(_load_ranking, night, name, ranking))
        parts += night.run(Kernel(table, (step,)), relations, {night.day: name})
    return [replace_days(table, parts, [night.day])]


def _load_ranking(night: Night, name: str, ranking: Ranking) -> Fold:
    """The fold that ranks with a model, loaded with all that it needs."""
    return partial(ranking, load_scorer(night, name))


def load_scorer(night: Night, name: str) -> Scorer:
    """Load the serving model of a night, its fallback and the items."""
    vocabulary = load_vocabulary(night)
    model = load_model(night, name, SERVING, vocabulary, latest_as_of=night.day)
    assert model is not None, f"{name} has no serving chain"
    return Scorer(night, model, _fallback(night, vocabulary.num_items), vocabulary, _versions(night, name, vocabulary))


def _fallback(night: Night, num_items: int) -> Recommender:
    """What was popular in the week that ends with the newest event."""
    with night.connect() as con:
        create_views(con, {"sequences": history(night).select()})
        rows = con.sql(f"""
            select number, count(*) as total, count(*) filter (
                event_time >= (select max(event_times[-1]) from sequences) - interval {FALLBACK_DAYS} day
            ) as recent
            from (select unnest(item_numbers) as number, unnest(event_times) as event_time from sequences)
            group by number
        """).to_arrow_table()
    counts = np.zeros((2, num_items), np.int64)
    counts[:, rows["number"].to_numpy()] = rows["recent"].to_numpy(), rows["total"].to_numpy()
    return count_fallback(*counts)


def _versions(night: Night, name: str, vocabulary: Vocabulary) -> dict[str, str]:
    """What a row was made from: hashes of the checkpoint, of the data, and of the settings that shape the lists.

    The data are the raw files up to the night, as they lay on disk, the numbers of the items and which are listed: so
    the hash does not depend on how an engine divides a table into files.
    """
    (model,) = (part.sha256 for part in night.current(CHECKPOINTS) if part.slice == name)
    data = "".join(sorted(read_hashes(night))) + vocabulary.content_hash
    rules = night.settings.recommendations.model_dump_json(exclude={"serve"})
    return {
        "model_version": model[:12],
        "data_version": hashlib.sha256(data.encode() + vocabulary.is_listed.tobytes()).hexdigest()[:12],
        "rule_version": hashlib.sha256(rules.encode()).hexdigest()[:12],
    }


def _recommend(scorer: Scorer, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Rows for the subjects of ordered rows (subject, items and times of one day, or null)."""
    settings = scorer.night.settings
    for rows in whole_runs(batches, lambda rows: starts_of(rows, *SUBJECT)):
        begins = np.flatnonzero(starts_of(rows, *SUBJECT))
        keys = rows["subject_key"].take(pa.array(begins)).to_numpy().astype(np.uint64)
        histories = replace(gather(rows, begins), subjects=keys).tail(settings.training.max_events)
        subjects = rows.select(SUBJECT).take(pa.array(begins))
        for start in range(0, len(begins), CHUNK_SUBJECTS):
            chosen = np.arange(start, min(start + CHUNK_SUBJECTS, len(begins)))
            rules = settings.recommendations
            asked = histories.take(chosen)
            lists = scorer.rank(asked, rules.k, exclude_seen=rules.exclude_seen)
            yield _rows(scorer, "recommendations", asked, lists, subjects.slice(start, len(chosen)))


def _relate(scorer: Scorer, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """An item's related items are what the model ranks after a history of that item alone, itself barred."""
    for batch in batches:
        numbers = batch["number"].to_numpy().astype(np.int32)
        for start in range(0, len(numbers), CHUNK_SUBJECTS):
            items = numbers[start : start + CHUNK_SUBJECTS]
            histories = Sequences(items, np.zeros(len(items), np.int64), np.arange(len(items) + 1))
            lists = scorer.rank(histories, scorer.night.settings.recommendations.related_k, exclude_seen=True)
            lists.items[lists.items == items[:, None]] = 0
            named = pa.table({"item_id": batch["item_id"].slice(start, len(items))})
            yield _rows(scorer, "related_items", histories, lists, named)


def _rows(scorer: Scorer, table: str, histories: Sequences, lists: Lists, subjects: pa.Table) -> pa.Table:
    """Lists as rows of a table: slots that nothing could fill are left out, and it is told whose they are."""
    row, slot = np.nonzero(lists.items)
    short = np.flatnonzero((lists.items == 0).any(axis=1))
    if len(short):
        first = " ".join(str(subjects[name][int(short[0])].as_py()) for name in subjects.column_names)
        _log.warning(
            "    %s of %s by %s: %d of %d lists have fewer than %d items, "
            "for example that of %s with %d; %d are listed",
            table, scorer.night.day, scorer.model.name, len(short), len(lists.items), lists.items.shape[1], first,
            np.count_nonzero(lists.items[short[0]]), np.count_nonzero(scorer.vocabulary.is_listed),
        )  # fmt: skip
    reasons = lists.reasons[row, slot]
    codes, texts = scorer.model.reasons(histories, lists.items)
    explained = np.where(reasons == REASONS.index(FROM_MODEL), len(REASONS) + codes[row, slot], reasons)
    constants = {"as_of_date": scorer.night.day, "model": scorer.model.name, **scorer.versions}
    columns = {
        **{name: subjects[name].take(pa.array(row)) for name in subjects.column_names},
        "rank": (slot + 1).astype(np.int32),
        _ITEM_COLUMNS[table]: scorer.vocabulary.item_ids.take(pa.array(lists.items[row, slot])),
        "score": lists.scores[row, slot],
        "source": pa.array(_SOURCES).take(pa.array(reasons)),
        "reason": pa.array([*REASONS, *texts]).take(pa.array(explained)),
        **{name: pa.repeat(pa.scalar(value), len(row)) for name, value in constants.items()},
    }
    schema = CONTRACTS[table].schema
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


_ITEM_COLUMNS: Final = {"recommendations": "item_id", "related_items": "related_item_id"}
_SOURCES: Final = tuple("model" if reason == FROM_MODEL else "fallback" for reason in REASONS)
