{#-
    Brings a table of connected components (node, component) from one day to a later one.

    `edges_sql` yields a, b and the stretch of days [counts_from, counts_until) for which the edge counts, all edges
    ever; `held` is the table as of the day `since`. Only edges that began or ended after that day are worked on:
    a component held counts as one node, its smallest, unless an edge of it ended; such a component is taken apart
    and found again from its own edges. Equal to the components of all edges that count now.
-#}
{% macro forward_components(edges_sql, held, since, prefix) -%}
    {%- set changed = prefix ~ "_changed" -%}
    {%- set apart = prefix ~ "_apart" -%}
    {%- set began = "counts_until = " ~ open_end() -%}
    {% do scratch_table(
        changed,
        "select a, b, counts_from, counts_until from ("
        ~ edges_sql
        ~ ") as edges where a <> b and (counts_from > "
        ~ since
        ~ " and "
        ~ began
        ~ " or counts_from <= "
        ~ since
        ~ " and counts_until > "
        ~ since
        ~ " and not "
        ~ began
        ~ ")",
    ) %}
    {% do scratch_table(
        apart,
        "select distinct held.component from "
        ~ held
        ~ " as held inner join "
        ~ changed
        ~ " as changed on changed.a = held.node where not changed."
        ~ began,
    ) %}
    {%- set contracted -%}
        select
            {% for side in ["a", "b"] %}
                case
                    when apart_{{ side }}.component is null
                    then coalesce(held_{{ side }}.component, changed.{{ side }})
                    else changed.{{ side }}
                end as {{ side }}
                {%- if not loop.last %}, {% endif %}
            {% endfor %}
        from {{ changed }} as changed
        {% for side in ["a", "b"] %}
            left join {{ held }} as held_{{ side }} on held_{{ side }}.node = changed.{{ side }}
            left join {{ apart }} as apart_{{ side }} on apart_{{ side }}.component = held_{{ side }}.component
        {% endfor %}
        where changed.{{ began }}
        union all
        select edges.a, edges.b
        from ({{ edges_sql }}) as edges
        inner join {{ held }} as held on held.node = edges.a
        inner join {{ apart }} as apart on apart.component = held.component
        where edges.counts_from <= {{ since }} and edges.{{ began }}
    {%- endset -%}
    {%- set result = connected_components(contracted, prefix) -%}
    {% do run_sql(
        "components_apart",
        "delete from " ~ held ~ " where component in (select component from " ~ apart ~ ")",
    ) %}
    {% do run_sql(
        "components_moved",
        "update "
        ~ held
        ~ " as held set component = moved.component from "
        ~ result
        ~ " as moved where held.component = moved.node and moved.component <> moved.node",
    ) %}
    {% do run_sql(
        "main",
        "insert into "
        ~ held
        ~ " (node, component) select found.node, found.component from "
        ~ result
        ~ " as found left join "
        ~ held
        ~ " as held on held.node = found.node where held.node is null",
    ) %}
    {%- for name in [changed, apart, result] -%} {% do drop_scratch_table(name) %} {%- endfor -%}
{%- endmacro %}
