{#-
    A model that yields edges (integers a, b) becomes the table of the connected components of that graph:
    node, component (its smallest node). Nodes without an edge to another node are not in it.

    With the setting `dated` the model also yields the stretch of days [counts_from, counts_until) for which each edge
    counts, all edges ever; the graph is that of the edges that count on as_of, and the table is taken from day to
    day: see forward_components.
-#}
{% materialization components, default %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- set prefix = "components_" ~ this.identifier -%}
    {%- set dated = config.get("dated", false) -%}
    {%- set forward = dated and is_forward() -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if forward -%} {% do forward_components(compiled_code, target_relation, forward_from(), prefix) %}
    {%- else -%}
        {%- set edges = compiled_code -%}
        {%- if dated -%}
            {%- set edges = (
                "select a, b from ("
                ~ compiled_code
                ~ ") as dated where counts_until = "
                ~ open_end()
            ) -%}
        {%- endif -%}
        {%- set result = connected_components(edges, prefix) -%}
        {{ drop_relation_if_exists(existing_relation) }}
        {% call statement("main") -%}
            {{ create_table_as(False, target_relation, "select node, component from " ~ result) }}
        {%- endcall %}
        {% do drop_scratch_table(result) %}
    {%- endif -%}
    {%- if dated -%} {% do record_running_model(forward) %} {%- endif -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
