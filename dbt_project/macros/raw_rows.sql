{#-
    What a staging model reads: every raw row that counts on as_of, or going forward only those not yet read. Of records
    with a version in a landing file that was replaced since, all rows that count are read again.
-#}
{% macro raw_rows(relation, table) -%}
    {%- if not is_forward() -%} {{ relation }}
    {%- elif has_replaced(table) -%}
        (
            select *
            from {{ relation }}
            where
                _arrived_on > {{ forward_from() }}
                or {{ row_hash(record_key(table)) }} in ({{ replaced_keys(table) }})
        )
    {%- else -%} {{ arrived_since(table) }}
    {%- endif -%}
{%- endmacro %}

{#- Whether a landing file of the table was replaced since `forward_from()`. -#}
{% macro has_replaced(table) -%}
    {%- set replaced -%}
        select 1 as one from {{ replaced_files(table) }} as replaced where replaced_on > {{ forward_from() }}
    {%- endset -%}
    {{ return(has_rows(replaced)) }}
{%- endmacro %}

{#-
    What a running staging model yields: `relation`; going forward with tombstones for the records of landing files that
    were replaced.
-#}
{% macro staged_rows(relation, table) -%}
    {%- if not is_forward() -%} select * from {{ relation }}
    {%- else -%}
        select *, false as is_gone
        from {{ relation }}
        {%- if has_replaced(table) %}
            union all
            select *, true as is_gone
            from {{ this }}
            where {{ row_hash(record_key(table)) }} in ({{ replaced_keys(table) }})
        {%- endif %}
    {%- endif -%}
{%- endmacro %}
