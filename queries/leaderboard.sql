-- Question: which model found most of what users did the next night?
-- Parameters: slice (a name that the query slices shows; default: users, or the sessions if none)
select m.model,
    round(max(value) filter (metric = 'ndcg@10'), 4) as "ndcg@10",
    round(max(low) filter (metric = 'ndcg@10'), 4) as low,
    round(max(high) filter (metric = 'ndcg@10'), 4) as high,
    round(max(value) filter (metric = 'hit@10'), 4) as "hit@10",
    round(max(value) filter (metric = 'recall@20'), 4) as "recall@20",
    round(max(value) filter (metric = 'coverage@10'), 4) as "coverage@10",
    max(num_cases) as cases,
    if(max(num_cases) < 100, 'none: under 100 cases', 'by the interval') as verdict
from metrics as m
where m.as_of_date = (select max(as_of_date) from metrics)
    and m.slice = coalesce(getvariable('slice'), (
        select max(slice) from metrics where slice in ('users', 'anonymous_sessions')
    ))
    and m.metric <> 'familiarity'  -- its cases are others
group by m.model
order by "ndcg@10" desc, m.model;
