-- Question: how much came in each day, and how much of it was kept?
-- Parameters: none
-- The first columns count rows by the day of their file, the others by the day of the event: late events differ.
with raw as (
    select file_date as day, count(*) as num_files, sum(num_rows) as num_rows,
        sum(num_quarantined) as num_quarantined
    from source_files group by file_date
), kept as (
    select event_date as day, count(*) as num_interactions, count(distinct user_id) as num_users,
        count(distinct item_id) as num_items
    from interactions group by event_date
), visits as (
    select session_date as day, count(*) as num_sessions, avg(num_events) as events_per_session
    from sessions group by session_date
)
select day, num_files, num_rows, num_quarantined, num_interactions, num_users, num_items, num_sessions,
    round(events_per_session, 2) as events_per_session
from raw full join kept using (day) full join visits using (day)
order by day;
