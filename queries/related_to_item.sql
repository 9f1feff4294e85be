-- Question: what do we show beside one item?
-- Parameters: item (an item_id); model (default: the served one)
select r.rank, r.related_item_id, i.title, array_to_string(i.category, ' > ') as category, i.price, r.score, r.source
from related_items as r
left join items as i on i.item_id = r.related_item_id
where r.as_of_date = (select max(as_of_date) from related_items)
    and r.item_id = getvariable('item')
    and r.model = coalesce(getvariable('model'), (select model from served_model))
order by r.rank;
