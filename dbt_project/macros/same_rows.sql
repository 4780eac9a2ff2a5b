{#-
    Condition of an update or delete: the rows that meet `condition` and share `keys` with a row of the query `delta`
    (nulls equal nulls).
-#}
{% macro same_rows(relation, keys, delta, condition="true") -%}
    {{ return(adapter.dispatch("same_rows")(relation, keys, delta, condition)) }}
{%- endmacro %}

{% macro default__same_rows(relation, keys, delta, condition) -%}
    {{ condition }}
    and exists (select 1 from ({{ delta }}) as delta where {{ equal_keys(keys, relation, "delta") }})
{%- endmacro %}

{#- All columns of a wide table would go through a condition with a subquery; the rows' numbers alone are ten times less. -#}
{% macro duckdb__same_rows(relation, keys, delta, condition) -%}
    rowid in (
        select held.rowid
        from {{ relation }} as held
        inner join
            (select distinct {{ keys | join(", ") }} from ({{ delta }}) as replacing) as delta
            on {{ equal_keys(keys, "held", "delta") }}
        where {{ condition }}
    )
{%- endmacro %}

{#- The same for the rows that meet `condition` and share `keys` with no row of `delta`. -#}
{% macro other_rows(relation, keys, delta, condition="true") -%}
    {{ return(adapter.dispatch("other_rows")(relation, keys, delta, condition)) }}
{%- endmacro %}

{% macro default__other_rows(relation, keys, delta, condition) -%}
    {{ condition }}
    and not exists (select 1 from ({{ delta }}) as delta where {{ equal_keys(keys, relation, "delta") }})
{%- endmacro %}

{% macro duckdb__other_rows(relation, keys, delta, condition) -%}
    rowid in (
        select held.rowid
        from {{ relation }} as held
        where
            {{ condition }}
            and not exists (
                select 1 from ({{ delta }}) as delta where {{ equal_keys(keys, "held", "delta") }}
            )
    )
{%- endmacro %}

{#- Whether two rows share all `keys`; nulls equal nulls. -#}
{% macro equal_keys(keys, one, other) -%}
    {%- for key in keys -%}
        {{ one }}.{{ key }} is not distinct from {{ other }}.{{ key }}{% if not loop.last %} and {% endif %}
    {%- endfor -%}
{%- endmacro %}
