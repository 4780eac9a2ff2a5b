{{ config(meta={"dagster": {"ref": {"name": "int_identity__links"}}}) }}
-- No identifier joins more others of one kind than its kind may, other than by a rule.
with
    links as (select * from {{ ref("int_identity__links") }} where counts_until = {{ open_end() }}),
    stated as (select * from {{ ref("int_identity__stated") }}),
    included as (select distinct identifier_key_a, identifier_key_b from stated where is_included),
    kinds as (
        select identifier_key, min(id_type) as id_type
        from {{ ref("int_identity__written") }}
        where identifier_key is not null
        group by 1
    ),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    fallback as (select * from identifier_types where id_type = '*'),
    counted as (
        select links.*
        from links
        left join
            included
            on included.identifier_key_a = links.identifier_key_a
            and included.identifier_key_b = links.identifier_key_b
        where included.identifier_key_a is null
    ),
    ends as (
        select identifier_key_a as identifier_key, identifier_key_b as other_key
        from counted
        union all
        select identifier_key_b as identifier_key, identifier_key_a as other_key
        from counted
    ),
    degrees as (
        select ends.identifier_key, near.id_type, far.id_type as other, count(*) as linked
        from ends
        inner join kinds as near on near.identifier_key = ends.identifier_key
        inner join kinds as far on far.identifier_key = ends.other_key
        group by 1, 2, 3
    ),
    failures as (
        select degrees.identifier_key, degrees.id_type, degrees.other, degrees.linked
        from degrees
        cross join fallback
        left join identifier_types as near on near.id_type = degrees.id_type
        left join identifier_types as far on far.id_type = degrees.other
        where
            coalesce(far.is_counted, fallback.is_counted)
            and degrees.linked > case
                when coalesce(far.is_person, fallback.is_person)
                then coalesce(near.max_persons, fallback.max_persons)
                else coalesce(near.max_linked, fallback.max_linked)
            end
    )
select *
from failures
