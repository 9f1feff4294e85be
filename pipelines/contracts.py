"""All tables of the store, declared once: name, grain, key, partition, columns with their meaning.

Validation suites, DuckDB views, the schema check of every write and the schema shown in the UI derive from here.
"""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

TEXT: Final = pa.string()
TIME: Final = pa.timestamp("us", tz="UTC")
DATE: Final = pa.date32()
SUM: Final = pa.decimal128(38, 0)


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means, and whether it may be null."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Contract:
    """One table.

    ``key`` identifies a row within the whole table. ``partition`` is the date column by which the table is stored.
    A ``snapshot`` table holds the whole state anew each night: its view shows the newest night only.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    partition: str
    columns: tuple[Column, ...]
    snapshot: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema that every file of the table has."""
        return pa.schema([pa.field(c.name, c.type) for c in self.columns])

    @property
    def column_names(self) -> list[str]:
        """Column names in stored order."""
        return [c.name for c in self.columns]

    @property
    def required(self) -> list[str]:
        """Names of the columns that are never null."""
        return [c.name for c in self.columns if not c.nullable]


AS_OF: Final = Column("as_of_date", DATE, "the night as of which the row is; nothing after this day was used")

PROVENANCE: Final = (
    Column("score", pa.float32(), "score within its source; not comparable between sources or models"),
    Column("source", TEXT, "model, or fallback where the model could not fill the list"),
    Column("reason", TEXT, "why the item is there"),
    Column("model_version", TEXT, "hash of the checkpoint"),
    Column("data_version", TEXT, "hash of the training data, the vocabulary and what is listed"),
    Column("rule_version", TEXT, "hash of the settings that shape the lists"),
)

SOURCE_FILES = Contract(
    "source_files",
    "one raw file that was read",
    ("file_date", "source_file"),
    "file_date",
    (
        Column("file_date", DATE, "day of the file, taken from its name"),
        Column("source_file", TEXT, "path of the file below the folder of the settings"),
        Column("sha256", TEXT, "hash of the file as it lies on disk, to find the same content under another name"),
        Column("num_bytes", pa.int64(), "size of the file on disk"),
        Column("num_rows", pa.int64(), "rows in the file: always num_interactions + num_quarantined"),
        Column("num_interactions", pa.int64(), "rows that became interactions"),
        Column("num_quarantined", pa.int64(), "rows that went to quarantine"),
    ),
)

INTERACTIONS = Contract(
    "interactions",
    "one accepted event",
    ("source_file", "source_row"),
    "event_date",
    (
        Column("event_date", DATE, "day of the event in the zone of the nights"),
        Column(
            "user_id", TEXT, "who acted; null for an anonymous event, which then has a source_session", nullable=True
        ),
        Column("item_id", TEXT, "the item acted on"),
        Column("event_time", TIME, "when, UTC"),
        Column("event_type", TEXT, "one of the event types of the settings"),
        Column("weight", pa.float64(), "weight of the event type; 0: kept, but teaches nothing"),
        Column("source_session", TEXT, "session, visit or invoice as the source names it", nullable=True),
        Column("source_file", TEXT, "file the event came from"),
        Column("source_row", pa.int64(), "row in that file, the first data row is 1"),
    ),
)

QUARANTINE = Contract(
    "quarantine",
    "one rejected raw row",
    ("file_date", "source_file", "source_row"),
    "file_date",
    (
        Column("file_date", DATE, "day of the file, taken from its name"),
        Column("source_file", TEXT, "file the row came from"),
        Column("source_row", pa.int64(), "row in that file, the first data row is 1"),
        Column("reason", TEXT, "why the row was rejected"),
        Column("raw_row", TEXT, "the row as it was read"),
    ),
)

ITEM_OBSERVATIONS = Contract(
    "item_observations",
    "what one day's logs say about one item",
    ("file_date", "item_id"),
    "file_date",
    (
        Column("file_date", DATE, "day of the files"),
        Column("item_id", TEXT, "the item"),
        Column("observed_at", TIME, "time of its newest accepted event in the files"),
        Column("title", TEXT, "newest title in the logs", nullable=True),
        Column("description", TEXT, "newest description in the logs", nullable=True),
        Column("category", TEXT, "newest category path in the logs, not yet split", nullable=True),
        Column("brand", TEXT, "newest brand in the logs", nullable=True),
        Column("price", TEXT, "newest price in the logs, not yet a number", nullable=True),
    ),
)

ITEMS = Contract(
    "items",
    "one item",
    ("as_of_date", "item_id"),
    "as_of_date",
    (
        AS_OF,
        Column("item_id", TEXT, "the item"),
        Column("title", TEXT, "display name", nullable=True),
        Column("description", TEXT, "long text", nullable=True),
        Column("category", pa.list_(TEXT), "category path, widest first; empty if there is none"),
        Column("brand", TEXT, "brand or maker", nullable=True),
        Column("price", pa.float64(), "price in the shop's currency", nullable=True),
        Column("attributes", pa.map_(TEXT, pa.list_(TEXT)), "free attributes: name to values"),
        Column("first_seen", DATE, "first night on which the item was known"),
        Column("is_listed", pa.bool_(), "stands in the newest catalogue, so it may be recommended"),
    ),
    snapshot=True,
)

SESSIONS = Contract(
    "sessions",
    "one visit: events of one user (or one anonymous source session) without a long pause",
    ("session_id",),
    "session_date",
    (
        Column("session_date", DATE, "day on which the session starts, in the zone of the nights"),
        Column("session_id", TEXT, "hash of user, source session and start"),
        Column("user_id", TEXT, "who; null for an anonymous session", nullable=True),
        Column("source_session", TEXT, "session as the source names it", nullable=True),
        Column("started_at", TIME, "time of the first event, UTC"),
        Column("ended_at", TIME, "time of the last event, UTC"),
        Column("num_events", pa.int32(), "length of the three lists"),
        Column("item_ids", pa.list_(TEXT), "items in order"),
        Column("event_times", pa.list_(TIME), "their times in order, UTC"),
        Column("event_types", pa.list_(TEXT), "their event types in order"),
    ),
)

ITEM_FREQUENCY = Contract(
    "item_frequency",
    "one item with an event of positive weight",
    ("as_of_date", "item_id"),
    "as_of_date",
    (
        AS_OF,
        Column("item_id", TEXT, "the item"),
        Column("num_events", pa.int64(), "events of positive weight up to that day"),
        Column("num_users", pa.int64(), "different users among them"),
        Column("num_sessions", pa.int64(), "different sessions among them"),
        Column("first_seen", TIME, "time of its first event, UTC"),
        Column("last_seen", TIME, "time of its last event, UTC"),
        Column("popularity_rank", pa.int64(), "1 for the most events; ties by item_id"),
        Column("share", pa.float64(), "num_events over the events of all items"),
        Column("is_frequent", pa.bool_(), "among the first share of items that the settings call frequent"),
        Column("gap_variance_s2", pa.float64(), "sample variance of the gaps between its events, s^2", nullable=True),
        Column("gap_square_sum_us2", SUM, "sum of their squares, us^2: from it the next night goes on"),
    ),
    snapshot=True,
)

INTERVAL_UNIFORMITY = Contract(
    "interval_uniformity",
    "one user with an event of positive weight",
    ("as_of_date", "user_id"),
    "as_of_date",
    (
        AS_OF,
        Column("user_id", TEXT, "the user"),
        Column("num_gaps", pa.int64(), "gaps between consecutive points in time at which the user acted"),
        Column("mean_gap_s", pa.float64(), "mean gap, seconds", nullable=True),
        Column("gap_variance_s2", pa.float64(), "sample variance of the gaps, s^2", nullable=True),
        Column(
            "log_gap_dispersion",
            pa.float64(),
            "coefficient of variation of log(1 + gap); needs two gaps",
            nullable=True,
        ),
        Column("uniformity_rank", pa.int64(), "1 for the evenest; ties by user_id; needs two gaps", nullable=True),
        Column("is_uniform", pa.bool_(), "among the first ranks, by the share that the settings call uniform"),
        Column("first_point", TIME, "first of these points in time"),
        Column("last_point", TIME, "last of them: from here on the next night goes on"),
        Column("gap_square_sum_s2", SUM, "sum of the squares of the gaps, s^2"),
        Column("log_gap_sum", SUM, "sum of round(1e9 log(1 + gap))"),
        Column("log_gap_square_sum", SUM, "sum of their squares"),
    ),
    snapshot=True,
)

ITEM_USERS = Contract(
    "item_users",
    "the first time that a user touched an item",
    ("first_date", "item_id", "user_id"),
    "first_date",
    (
        Column("first_date", DATE, "day of the user's first event of positive weight on the item"),
        Column("item_id", TEXT, "the item"),
        Column("user_id", TEXT, "the user"),
    ),
)

ITEM_NEIGHBOURS = Contract(
    "item_neighbours",
    "one rank of an item's neighbours: items that the same subjects touched",
    ("as_of_date", "item_id", "rank"),
    "as_of_date",
    (
        AS_OF,
        Column("item_id", TEXT, "the item"),
        Column("rank", pa.int32(), "1 is the best score; ties by neighbour_id"),
        Column("neighbour_id", TEXT, "the neighbour"),
        Column("similarity", pa.float64(), "cosine over subjects, who weigh less the more items they have"),
        Column("mean_gap_s", pa.float64(), "mean time between a subject's last events on the two, seconds"),
        Column("num_subjects", pa.int64(), "subjects in the window who touched both"),
        Column("score", pa.float64(), "similarity, closeness in time and evenness of the neighbour together"),
    ),
    snapshot=True,
)

METADATA_VOCABULARY = Contract(
    "metadata_vocabulary",
    "one token of one field",
    ("field", "token"),
    "first_night",
    (
        Column("first_night", DATE, "the night that numbered it"),
        Column("field", TEXT, "item, title, brand, category_1, category_2, ..., or attribute:<name>"),
        Column("token", TEXT, "the value; for the field item, the item_id"),
        Column("number", pa.int32(), "its number in the field, from 2: 0 is padding, 1 is unknown; never changes"),
        Column("count", pa.int64(), "items that carried the token when it was numbered"),
    ),
)

TRAINING_SEQUENCES = Contract(
    "training_sequences",
    "the events of one subject on one day",
    ("event_date", "subject_type", "subject_id"),
    "event_date",
    (
        Column("event_date", DATE, "day of the events in the zone of the nights"),
        Column("subject_type", TEXT, "user or session (an anonymous source session)"),
        Column("subject_id", TEXT, "user_id or source_session"),
        Column("item_numbers", pa.list_(pa.int32()), "numbers of the items in order of time"),
        Column("event_times", pa.list_(TIME), "their times, UTC"),
    ),
)

TRAINING_RUNS = Contract(
    "training_runs",
    "one reported step of one training",
    ("as_of_date", "model", "chain", "stage", "step"),
    "as_of_date",
    (
        AS_OF,
        Column("model", TEXT, "the model"),
        Column("chain", TEXT, "evaluation (has not seen the last two nights) or serving (refitted on everything)"),
        Column("stage", TEXT, "stage of the training"),
        Column("step", pa.int64(), "optimiser steps so far; 1 for a model that passes over the data once"),
        Column("epoch", pa.int64(), "passes over the data so far"),
        Column("loss", pa.float64(), "training loss of the step; null without a loss", nullable=True),
        Column("validation_metric", pa.float64(), "NDCG@10 on night N-1, if measured", nullable=True),
        Column("seconds", pa.float64(), "seconds since the training began"),
        Column("checkpoint_hash", TEXT, "hash of the weights that the training ended with"),
    ),
)

METRICS = Contract(
    "metrics",
    "one metric of one model on one slice",
    ("as_of_date", "model", "protocol", "slice", "metric"),
    "as_of_date",
    (
        AS_OF,
        Column("model", TEXT, "the model; its checkpoint has not seen the two nights it is selected and scored on"),
        Column("protocol", TEXT, "next_night"),
        Column(
            "slice",
            TEXT,
            "users (all), known_users, new_users or anonymous_sessions; of users and anonymous_sessions also those "
            "whose rarest target had 0, 1_10, 11_50 or over_50 training events, as users_target_1_10, those with a "
            "target in one of the 10 first categories of most cases, as users_category_Shoes, and those whose history "
            "has 1_5, 6_20 or over_20 events, as users_history_1_5; of users alone users_uniform and users_uneven, who "
            "came in even or uneven intervals before, as interval_uniformity says of those with two gaps",
        ),
        Column(
            "metric",
            TEXT,
            "recall@k, ndcg@k, map@k, mrr@k, hit@k; of the lists alone coverage@k, gini@k (0 even, 1 one item), "
            "novelty@k (bits), popularity_lift@k (share above the histories), diversity@k (pairs of two categories); "
            "of what was done that night, on the first four slices alone, familiarity (1: it all was together before, "
            "0: as if by chance)",
        ),
        Column("value", pa.float64(), "mean over the cases; of the lists alone, over the lists"),
        Column("low", pa.float64(), "lower end of the 95 % bootstrap interval", nullable=True),
        Column("high", pa.float64(), "upper end of it", nullable=True),
        Column("num_cases", pa.int64(), "cases in the slice; under 100 they allow no verdict"),
    ),
)

RECOMMENDATIONS = Contract(
    "recommendations",
    "one rank of one subject's list, by model",
    ("as_of_date", "model", "subject_type", "subject_id", "rank"),
    "as_of_date",
    (
        AS_OF,
        Column("model", TEXT, "the model whose list this is"),
        Column("subject_type", TEXT, "user or session (an anonymous source session)"),
        Column("subject_id", TEXT, "user_id or source_session"),
        Column("rank", pa.int32(), "1 is the best"),
        Column("item_id", TEXT, "the recommended item"),
        *PROVENANCE,
    ),
)

RELATED_ITEMS = Contract(
    "related_items",
    "one rank of one item's list, by model",
    ("as_of_date", "model", "item_id", "rank"),
    "as_of_date",
    (
        AS_OF,
        Column("model", TEXT, "the model whose list this is"),
        Column("item_id", TEXT, "the item one looks at"),
        Column("rank", pa.int32(), "1 is the best"),
        Column("related_item_id", TEXT, "the item to show beside it"),
        *PROVENANCE,
    ),
)

CONTRACTS: Final[dict[str, Contract]] = {
    contract.name: contract
    for contract in (
        SOURCE_FILES,
        INTERACTIONS,
        QUARANTINE,
        ITEM_OBSERVATIONS,
        ITEMS,
        SESSIONS,
        ITEM_FREQUENCY,
        ITEM_USERS,
        INTERVAL_UNIFORMITY,
        ITEM_NEIGHBOURS,
        METADATA_VOCABULARY,
        TRAINING_SEQUENCES,
        TRAINING_RUNS,
        METRICS,
        RECOMMENDATIONS,
        RELATED_ITEMS,
    )
}
