"""Training sequences: what each subject did on each day, in order, as numbers.

A day is a file. So a night writes its own days, and what a model may learn from is told by the days that are read: the
last day with events is the test, the one before is validation, all before are for training.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.engine import quote
from pipelines.kernel import Kernel, Step
from pipelines.runs import Bools, starts_of, to_lists, whole_runs
from pipelines.teaching_events import SUBJECT


def training_sequences_kernel(zone: str) -> Kernel:
    """The ordered events of each subject and day.

    Reads ``events`` and ``metadata_vocabulary``. An item without a number is left out.
    """
    sql = f"""
        select timezone({quote(zone)}, event_time)::date as event_date, subject_type, subject_id, number, event_time
        from events join (select token, number from metadata_vocabulary where field = 'item') on token = item_id
        order by event_date, subject_type, subject_id, event_time, session_id, position
    """
    return Kernel("training_sequences", (Step("gathered", SUBJECT, ("events",), sql, fold_sequences),))


def fold_sequences(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather events, ordered by day, subject and time, into rows of ``training_sequences``."""
    for events in whole_runs(batches, _starts):
        begins = np.flatnonzero(_starts(events))
        heads = events.select(["event_date", *SUBJECT]).take(pa.array(begins))
        yield heads.append_column("item_numbers", to_lists(events["number"], begins)).append_column(
            "event_times", to_lists(events["event_time"], begins)
        )


def _starts(events: pa.Table) -> Bools:
    return starts_of(events, "event_date", *SUBJECT)
