"""Training sequences: what each subject did, in order, as numbers, cut into train, validation and test.

Night N is the last day with events up to the as-of day, N-1 the one before: days without events are skipped. A reader
that takes the train part alone cannot see what it is later selected and scored on.
"""

from datetime import date, timedelta

from pipelines.engine import quote
from pipelines.settings import Settings


def training_sequences_sql(settings: Settings, day: date) -> str:
    """SELECT of ``training_sequences``; reads ``events`` and ``metadata_vocabulary`` of the night.

    The subject is the user, or the source session of an anonymous event. Events older than the window of the settings,
    and all but the last ``max_events`` of a subject in each part, are left out: in each, for what a subject does last
    must not decide what the train part holds.
    """
    zone = quote(settings.nights.time_zone)
    start = quote(day - timedelta(days=settings.training.window_days))
    return f"""
        with subject_events as (
            select case when user_id is null then 'session' else 'user' end as subject_type,
                coalesce(user_id, source_session) as subject_id, session_id, position, item_id, event_time,
                timezone({zone}, event_time)::date as event_date
            from events
        ), last_nights as (
            select event_date, row_number() over (order by event_date desc) as age
            from (select distinct event_date from subject_events) order by age limit 2
        ), split as (
            select subject_events.*, case age when 1 then 'test' when 2 then 'validation' else 'train' end as split
            from subject_events left join last_nights using (event_date)
            where event_date > {start}::date
        ), recent as (
            select * from split
            qualify row_number() over (
                partition by subject_type, subject_id, split order by event_time desc, session_id desc, position desc
            ) <= {settings.training.max_events}
        )
        select {quote(day)}::date as as_of_date, subject_type, subject_id, split,
            list(number order by event_time, session_id, position) as item_numbers,
            list(event_time order by event_time, session_id, position) as event_times
        from recent join metadata_vocabulary on field = 'item' and token = item_id
        group by subject_type, subject_id, split
        order by subject_type, subject_id, max(event_time)
    """
