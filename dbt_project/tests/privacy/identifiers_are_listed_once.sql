{{ config(meta={"dagster": {"ref": {"name": "user_identifiers"}}}) }}
-- An identifier has one row, and with it one user.
select id_type, count(*) as number_of_rows
from {{ ref("user_identifiers") }}
group by id_type, id
having count(*) > 1
