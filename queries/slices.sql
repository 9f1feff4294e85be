-- Question: for whom does a model do well: for rare targets, short histories, new users?
-- Parameters: model (default: the served one)
select m.slice,
    round(max(value) filter (metric = 'ndcg@10'), 4) as "ndcg@10",
    round(max(low) filter (metric = 'ndcg@10'), 4) as low,
    round(max(high) filter (metric = 'ndcg@10'), 4) as high,
    round(max(value) filter (metric = 'hit@10'), 4) as "hit@10",
    round(max(value) filter (metric = 'diversity@10'), 4) as "diversity@10",
    round(max(value) filter (metric = 'popularity_lift@10'), 4) as "popularity_lift@10",
    max(num_cases) as cases,
    if(max(num_cases) < 100, 'none: under 100 cases', 'by the interval') as verdict
from metrics as m
where m.as_of_date = (select max(as_of_date) from metrics)
    and m.model = coalesce(getvariable('model'), (select model from served_model))
    and m.metric <> 'familiarity'  -- its cases are others
group by m.slice
order by m.slice;
