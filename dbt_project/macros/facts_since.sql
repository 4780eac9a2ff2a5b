{#-
    The facts of a running staging model that a running model of the activity stream has to read: all of them, or going
    forward those that arrived since then and those that were known before and have happened since then.
    `has_earlier_version`: a version of the record was held, which the row replaces (also when the row lies after as_of).
-#}
{% macro facts_since(relation, forward) -%}
    {%- if not forward -%} select *, false as has_earlier_version from {{ relation }}
    {%- else -%}
        select *, _first_arrived_on <= {{ forward_from() }} as has_earlier_version
        from {{ relation }}
        where
            _arrived_on > {{ forward_from() }}
            and ({{ happened("occurred_at") }} or _first_arrived_on <= {{ forward_from() }})
        union all
        select *, false as has_earlier_version
        from {{ relation }}
        where
            _arrived_on <= {{ forward_from() }}
            and occurred_at >= {{ day_start(forward_from() ~ " + interval 1 day") }}
            and {{ happened("occurred_at") }}
    {%- endif -%}
{%- endmacro %}
