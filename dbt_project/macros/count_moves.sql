{#-
    What changes in the counts of 7, 30 and 90 days from `forward_from()` to as_of, from the CTEs `tracked` and `dealings`: rows
    that were added, with their moment and day, and rows that left a window, without. One scan per reason, so that each reads only
    the part of the stream that can hold its rows.
-#}
{% macro count_moves(columns) -%}
    {%- for part in ["tracked", "dealings"] %}
        select
            {{ columns | join(", ") }},
            occurred_at,
            activity_date,
            {%- for days in [7, 30, 90] %}
                case
                    when activity_date > {{ add_days(as_of(), -days) }} then 1 else 0
                end as count_{{ days }}d
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from {{ part }}
        where {{ is_added() }}
        {% for days in [7, 30, 90] %}
            union all
            select
                {{ columns | join(", ") }},
                cast(null as timestamp) as occurred_at,
                cast(null as date) as activity_date,
                {{ -1 if days == 7 else 0 }} as count_7d,
                {{ -1 if days == 30 else 0 }} as count_30d,
                {{ -1 if days == 90 else 0 }} as count_90d
            from {{ part }}
            where {{ is_expiring(days) }}
        {% endfor %}
        {% if not loop.last %}
            union all
        {% endif %}
    {%- endfor %}
{%- endmacro %}
