{#-
    Connected components of a graph, exactly, in O(log n) rounds of plain joins (no recursion).

    `edges_sql` yields two integer columns a, b. Makes the scratch table `<prefix>_result(node, component)` with
    every node of an edge between two different nodes, where component is the smallest node of the component.

    A round hooks every node to the smallest of itself and its neighbours, which gives a forest along falling
    numbers; pointer jumping then hooks each node to the root of its tree, in log2(depth) passes, without which a
    long chain would lose few nodes a round; the edges are relabelled by the roots, loops and repeats dropped.
    A round at least halves the nodes that still have edges. The maps of the rounds, followed one after the
    other, lead from a node to the smallest node of its component.
-#}
{% macro connected_components(edges_sql, prefix) -%}
    {%- set edges = prefix ~ "_edges" -%}
    {%- set jumped = prefix ~ "_jumped" -%}
    {%- set relabelled = prefix ~ "_relabelled" -%}
    {%- set result = prefix ~ "_result" -%}
    {%- set maps = [] -%}
    {%- set most_rounds = 64 -%}
    {% do scratch_table(
        edges,
        "select distinct greatest(a, b) as a, least(a, b) as b from ("
        ~ edges_sql
        ~ ") as given where a <> b",
    ) %}
    {%- for round in range(most_rounds + 1) -%}
        {%- if not has_rows("select 1 from " ~ edges) -%} {%- break -%} {%- endif -%}
        {%- if round == most_rounds -%}
            {{
                exceptions.raise_compiler_error(
                    "Connected components did not converge: a and b must be integers without nulls."
                )
            }}
        {%- endif -%}
        {%- set roots = prefix ~ "_roots_" ~ round -%}
        {% do maps.append(roots) %}
        {% do scratch_table(
            roots,
            "select node, min(root) as root from (select a as node, b as root from "
            ~ edges
            ~ " union all select b as node, b as root from "
            ~ edges
            ~ ") as hooks group by node",
        ) %}
        {%- for jump in range(most_rounds) -%}
            {% do scratch_table(
                jumped,
                "select near.node, far.root, far.root <> near.root as has_moved from "
                ~ roots
                ~ " as near inner join "
                ~ roots
                ~ " as far on far.node = near.root",
            ) %}
            {%- if not has_rows("select 1 from " ~ jumped ~ " where has_moved") -%}
                {%- break -%}
            {%- endif -%}
            {% do scratch_table(roots, "select node, root from " ~ jumped) %}
        {%- endfor -%}
        {% do scratch_table(
            relabelled,
            "select distinct greatest(x.root, y.root) as a, least(x.root, y.root) as b from "
            ~ edges
            ~ " as e inner join "
            ~ roots
            ~ " as x on x.node = e.a inner join "
            ~ roots
            ~ " as y on y.node = e.b where x.root <> y.root",
        ) %}
        {% do scratch_table(edges, "select a, b from " ~ relabelled) %}
    {%- endfor -%}
    {%- if not maps -%}
        {% do scratch_table(result, "select a as node, a as component from " ~ edges ~ " where a is null") %}
    {%- endif -%}
    {%- for roots in maps -%}
        {%- if loop.first -%} {% do scratch_table(result, "select node, root as component from " ~ roots) %}
        {%- else -%}
            {% do scratch_table(
                jumped,
                "select near.node, coalesce(far.root, near.component) as component from "
                ~ result
                ~ " as near left join "
                ~ roots
                ~ " as far on far.node = near.component",
            ) %}
            {% do scratch_table(result, "select node, component from " ~ jumped) %}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in maps + [edges, jumped, relabelled] -%} {% do drop_scratch_table(name) %} {%- endfor -%}
    {{ return(result) }}
{%- endmacro %}
