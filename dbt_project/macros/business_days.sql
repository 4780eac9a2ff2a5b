{#-
    One row per business day from 1990 to as_of: `day`, and `ends_at`, the moment (UTC) at which it is over. Joined to
    facts so that no time zone is looked up for each of them.
-#}
{% macro business_days() -%} {{ return(adapter.dispatch("business_days")()) }} {%- endmacro %}

{% macro default__business_days() -%}
    select day, {{ day_start("day + interval 1 day") }} as ends_at
    from (select explode(sequence(cast('1990-01-01' as date), {{ as_of() }})) as day) as days
{%- endmacro %}

{% macro duckdb__business_days() -%}
    select day, {{ day_start("day + interval 1 day") }} as ends_at
    from
        (
            select cast(moment as date) as day
            from
                generate_series(
                    timestamp '1990-01-01', cast({{ as_of() }} as timestamp), interval 1 day
                ) as s(moment)
        ) as days
{%- endmacro %}
