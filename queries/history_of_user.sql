-- Question: what did one user do lately? The newest 50 events.
-- Parameters: user (a user_id)
select event_time, event_type, item_id, i.title, source_session, source_file, source_row
from interactions
left join items as i using (item_id)
where user_id = getvariable('user')
order by event_time desc, source_file, source_row
limit 50;
