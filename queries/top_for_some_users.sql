-- Question: what do the lists look like? The first ranks of a few users, with titles.
-- Parameters: model (default: the served one); users (how many, default 3); ranks (how many, default 3)
with newest as (
    select * from recommendations
    where as_of_date = (select max(as_of_date) from recommendations)
        and model = coalesce(getvariable('model'), (select model from served_model))
        and source = 'model'
), chosen as (
    select distinct subject_type, subject_id from newest
    where subject_type = (select max(subject_type) from newest)  -- users; or sessions, where there is no user
    order by md5(subject_id)
    limit (coalesce(getvariable('users'), '3')::int)
)
select n.subject_id as user_id, n.rank, n.item_id, i.title, n.score
from newest as n
join chosen using (subject_type, subject_id)
left join items as i using (item_id)
where n.rank <= coalesce(getvariable('ranks'), '3')::int
order by n.subject_id, n.rank;
