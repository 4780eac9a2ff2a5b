{#-
    A model that yields edges (integers a, b) becomes the table of the connected components of that graph:
    node, component (its smallest node). Nodes without an edge to another node are not in it.
-#}
{% materialization components, default %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set result = connected_components(compiled_code, "components_" ~ this.identifier) -%}
    {{ drop_relation_if_exists(existing_relation) }}
    {% call statement("main") -%}
        {{ create_table_as(False, target_relation, "select node, component from " ~ result) }}
    {%- endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {% do drop_scratch_table(result) %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
