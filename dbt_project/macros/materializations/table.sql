{#-
    A table that is replaced in one transaction: dropped and made again, without the adapter's renames and its
    searches for indexes, foreign keys and grants, none of which a Jingxi table has. Half the statements per model,
    which is what a build of many small models consists of. A failed statement rolls back: the old table stays.
    With meta `parts_of`, a model of one row per user, it is put together from as many parts of those users as memory
    asks for; the model's query names the part by `in_part`.
-#}
{% materialization table, adapter = "duckdb" %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set parts = part_count() -%}
    {%- for part in range(parts) -%}
        {%- if parts > 1 -%} {% do choose_part(part, parts) %} {%- endif -%}
        {% call statement("main") -%}
            {%- if not loop.first %}
                insert into {{ target_relation }} by name ({{ compiled_code }});
            {%- else -%}
                {%- if existing_relation is not none %}
                    drop {{ existing_relation.type }} if exists {{ existing_relation }};
                {% endif -%}
                {{ create_table_as(False, target_relation, compiled_code) }}
            {%- endif -%}
        {%- endcall %}
    {%- endfor %}
    {%- if parts > 1 -%} {% do choose_part("null", "null") %} {%- endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
