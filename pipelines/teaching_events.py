"""Events that teach: those of positive weight, taken out of ``sessions``, one row each.

The SELECTs here look at one session at a time and read ``files``, as a ``Relation`` wants it.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from pipelines.engine import quote, start_of_day
from pipelines.settings import EventType, Settings

SUBJECT: Final = ("subject_type", "subject_id")
"""Who learns: the columns of the user, or of the source session of an anonymous event."""
SUBJECT_KEY: Final = "md5_number_lower(concat_ws(':', subject_type, subject_id))"
"""The number by which models know a subject again: the same in every version of DuckDB, and on Beam."""


def events_rows(settings: Settings, first: date, last: date) -> str:
    """SELECT of the events from ``first`` to ``last``: who, what, when, and their place in the session."""
    start, end = _instants(settings, first, last)
    return f"""
        select session_id, user_id, case when user_id is null then 'session' else 'user' end as subject_type,
            coalesce(user_id, source_session) as subject_id, item_id, event_time, position
        from (
            select session_id, user_id, source_session, unnest(item_ids) as item_id,
                unnest(event_times) as event_time, unnest(event_types) as event_type,
                unnest(range(num_events)) as position
            from files where ended_at >= {start} and started_at < {end}
        )
        where event_time >= {start} and event_time < {end} and {_teaches("event_type", settings)}
    """


def session_items_rows(settings: Settings, first: date, last: date) -> str:
    """SELECT of the items of each session, one row an item, at the day of its first event in the session.

    So an item of a session that goes on over midnight counts on one day only, and the days add up.
    """
    start, end = _instants(settings, first, last)
    teaches = _teaches("e[3]", settings)
    return f"""
        select unnest(case
            when started_at >= {start} then items
            else list_filter(items, lambda item: not list_contains(former_items, item))
        end) as item_id
        from (
            select started_at, list_distinct([e[1] for e in events if e[2] >= {start} and e[2] < {end} and {teaches}])
                    as items,
                case when started_at < {start} then [e[1] for e in events if e[2] < {start} and {teaches}] end
                    as former_items
            from (
                select started_at, list_zip(item_ids, event_times, event_types) as events
                from files where ended_at >= {start} and started_at < {end}
            )
        )
    """


def _instants(settings: Settings, first: date, last: date) -> tuple[str, str]:
    """Where the days begin and end, as SQL."""
    zone = settings.nights.time_zone
    return start_of_day(zone, first), start_of_day(zone, last + timedelta(days=1))


def _teaches(column: str, settings: Settings) -> str:
    return f"{column} in ({_names(settings.events.event_types)})"


def _names(kinds: Iterable[EventType]) -> str:
    return ", ".join(quote(kind.name) for kind in kinds if kind.weight > 0) or "null"
