{#-
    Whether a user belongs to the part that is being built of a table that is built in parts (materializations table and
    by_date); always true elsewhere. Said in every import CTE of such a model: a join of many tables holds all but one of
    them in memory.
-#}
{% macro in_part(user_id) -%} {{ return(adapter.dispatch("in_part")(user_id)) }} {%- endmacro %}

{% macro default__in_part(user_id) -%} true {%- endmacro %}

{% macro duckdb__in_part(user_id) -%}
    coalesce(hash({{ user_id }}) % getvariable('part_count') = getvariable('part'), true)
{%- endmacro %}

{#-
    How many parts the model that is being built is put together from: one, unless it says `parts_of`. With meta `parts_among`, a
    condition, only those of the users count: a model that reads everything of a few.
-#}
{% macro part_count() -%} {{ return(adapter.dispatch("part_count")()) }} {%- endmacro %}

{% macro default__part_count() -%} {{ return(1) }} {%- endmacro %}

{% macro duckdb__part_count() -%}
    {%- set users = model.config.meta.get("parts_of") -%}
    {%- if not users -%} {{ return(1) }} {%- endif -%}
    {%- set node = graph.nodes.values() | selectattr("name", "equalto", users) | first -%}
    {%- set counted -%}
        select cast(count(*) // getvariable('users_per_part') as integer)
        from {{ node.relation_name }}
        where {{ model.config.meta.get("parts_among", "true") }}
    {%- endset -%}
    {{ return((run_query(counted).columns[0].values()[0] or 0) + 1) }}
{%- endmacro %}

{#- From here on `in_part` means this part; with "null" twice, everybody. -#}
{% macro choose_part(part, parts) -%}
    {%- call statement("part", auto_begin=false) -%} set variable part_count = {{ parts }} {%- endcall -%}
    {%- call statement("part", auto_begin=false) -%} set variable part = {{ part }} {%- endcall -%}
{%- endmacro %}
