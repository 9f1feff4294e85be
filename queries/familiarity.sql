-- Question: how familiar was what people did, night by night?
-- Parameters: slice (users, known_users, new_users or anonymous_sessions; default: users, or the sessions if none)
select m.as_of_date as night, m.model,
    round(m.value, 4) as familiarity,
    round(m.low, 4) as low,
    round(m.high, 4) as high,
    m.num_cases as cases,
    round(sum(if(m.num_cases < 100, null, m.value * m.num_cases)) over earlier
        / sum(if(m.num_cases < 100, null, m.num_cases)) over earlier, 4) as mean_before
from metrics as m
where m.metric = 'familiarity'
    and m.slice = coalesce(getvariable('slice'), (
        select max(slice) from metrics where slice in ('users', 'anonymous_sessions')
    ))
window earlier as (partition by m.model order by m.as_of_date rows between 14 preceding and 1 preceding)
order by night desc, m.model;
