-- Question: which rows were rejected, why, and where does one find an example?
-- Parameters: since (a date, default: the last 7 days with files)
with newest as (select max(file_date) as day from source_files), total as (
    select file_date, sum(num_rows) as num_raw_rows from source_files group by file_date
)
select q.file_date, q.reason, count(*) as num_rows,
    round(100 * count(*) / any_value(num_raw_rows), 2) as percent,
    min(q.source_file) as source_file, arg_min(q.source_row, (q.source_file, q.source_row)) as source_row,
    arg_min(q.raw_row, (q.source_file, q.source_row))[:100] as raw_row
from quarantine as q
left join total using (file_date)
where q.file_date >= coalesce(getvariable('since')::date, (select day - 6 from newest))
group by q.file_date, q.reason
order by q.file_date desc, num_rows desc, q.reason;
