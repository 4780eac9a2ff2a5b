{#-
    Connected components of a graph, exactly, in O(log n) rounds of plain joins (no recursion).

    `edges_sql` yields two integer columns a, b. Makes the scratch table `<prefix>_result(node, component)` with
    every node of an edge between two different nodes, where component is the smallest node of the component.

    A round hooks every node to the smallest of itself and its neighbours, which gives a forest along falling
    numbers; pointer jumping then hooks each node to the root of its tree, in log2(depth) passes, without which a
    long chain would lose few nodes a round; the edges are relabelled by the roots, loops and repeats dropped.
    A round at least halves the nodes that still have edges. The maps of the rounds, followed one after the
    other, lead from a node to the smallest node of its component. No pass reads a table that an earlier one does
    not need any more: those are dropped at once.
-#}
{% macro connected_components(edges_sql, prefix) -%}
    {%- set result = prefix ~ "_result" -%}
    {%- set walk = {"edges": prefix ~ "_edges_0", "result": none} -%}
    {%- set maps = [] -%}
    {%- set most_rounds = 64 -%}
    {% do scratch_table(walk.edges, "select a, b from (" ~ edges_sql ~ ") as given where a <> b") %}
    {%- for round in range(most_rounds + 1) -%}
        {%- if not has_rows("select 1 from " ~ walk.edges) -%} {%- break -%} {%- endif -%}
        {%- if round == most_rounds -%}
            {{
                exceptions.raise_compiler_error(
                    "Connected components did not converge: a and b must be integers without nulls."
                )
            }}
        {%- endif -%}
        {%- set hooks = prefix ~ "_hooks_" ~ round -%}
        {% do walk.update({"roots": hooks ~ "_0"}) %}
        {% do scratch_table(
            walk.roots,
            "select node, min(root) as root from (select a as node, least(a, b) as root from "
            ~ walk.edges
            ~ " union all select b as node, least(a, b) as root from "
            ~ walk.edges
            ~ ") as hooks group by node",
        ) %}
        {%- for jump in range(1, most_rounds) -%}
            {%- set jumped = hooks ~ "_" ~ jump -%}
            {% do scratch_table(
                jumped,
                "select near.node, far.root, far.root <> near.root as has_moved from "
                ~ walk.roots
                ~ " as near inner join "
                ~ walk.roots
                ~ " as far on far.node = near.root",
            ) %}
            {% do drop_scratch_table(walk.roots) %}
            {% do walk.update({"roots": jumped}) %}
            {%- if not has_rows("select 1 from " ~ jumped ~ " where has_moved") -%}
                {%- break -%}
            {%- endif -%}
        {%- endfor -%}
        {% do maps.append(walk.roots) %}
        {%- set relabelled = prefix ~ "_edges_" ~ (round + 1) -%}
        {% do scratch_table(
            relabelled,
            "select distinct greatest(x.root, y.root) as a, least(x.root, y.root) as b from "
            ~ walk.edges
            ~ " as e inner join "
            ~ walk.roots
            ~ " as x on x.node = e.a inner join "
            ~ walk.roots
            ~ " as y on y.node = e.b where x.root <> y.root",
        ) %}
        {% do drop_scratch_table(walk.edges) %}
        {% do walk.update({"edges": relabelled}) %}
    {%- endfor -%}
    {%- if not maps -%}
        {% do scratch_table(
            result, "select a as node, a as component from " ~ walk.edges ~ " where a is null"
        ) %}
    {%- endif -%}
    {%- for roots in maps -%}
        {%- set followed = result if loop.last else prefix ~ "_followed_" ~ loop.index -%}
        {%- if loop.first -%} {% do scratch_table(followed, "select node, root as component from " ~ roots) %}
        {%- else -%}
            {% do scratch_table(
                followed,
                "select near.node, coalesce(far.root, near.component) as component from "
                ~ walk.followed
                ~ " as near left join "
                ~ roots
                ~ " as far on far.node = near.component",
            ) %}
            {% do drop_scratch_table(walk.followed) %}
        {%- endif -%}
        {% do drop_scratch_table(roots) %}
        {% do walk.update({"followed": followed}) %}
    {%- endfor -%}
    {% do drop_scratch_table(walk.edges) %}
    {{ return(result) }}
{%- endmacro %}
