-- Question: what do we recommend to one user tonight, and why?
-- Parameters: user (a user_id, or the source_session of an anonymous visitor); model (default: the served one)
select r.subject_type, r.rank, r.item_id, i.title, array_to_string(i.category, ' > ') as category, i.price, r.score, r.source, r.reason, r.as_of_date
from recommendations as r
left join items as i using (item_id)
where r.as_of_date = (select max(as_of_date) from recommendations)
    and r.subject_id = getvariable('user')
    and r.model = coalesce(getvariable('model'), (select model from served_model))
order by r.subject_type desc, r.rank;
