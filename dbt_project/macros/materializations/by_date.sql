{#-
    A table with one set of rows per business day, in the column `as_of_date`. The model yields the rows of as_of; they
    replace those that the table holds of that day, also when there are none, straight from the query: a day may have more
    rows than fit into memory. Other days stay, also when everything is rebuilt. With `incremental_strategy="append"`
    rows are only added. A new column is added to the table, null in earlier days; one that is gone stays.

    With meta `parts_of` it is put together from parts of those users (in_part), as a table is.

    What a model reads of its own table is without the rows of as_of. All in one transaction: a failed query leaves the
    table as it was. Whether there is a table yet: `holds_days()`.
-#}
{% materialization by_date, default %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if existing_relation is none %}
        {%- set no_rows = "select * from (" ~ compiled_code ~ "\n) as no_rows where false" -%}
        {% do run_sql("made", create_table_as(False, target_relation, no_rows)) %}
    {%- elif config.get("contract").enforced -%} {% do get_assert_columns_equivalent(compiled_code) %}
    {% endif %}
    {%- set names = add_new_columns(target_relation, compiled_code) -%}
    {%- if existing_relation is not none and config.get("incremental_strategy") != "append" -%}
        {% do run_sql("replaced", "delete from " ~ target_relation ~ " where as_of_date = " ~ as_of()) %}
    {%- endif -%}
    {%- set day_rows = "select " ~ names ~ " from (" ~ compiled_code ~ "\n) as day_rows" -%}
    {%- set parts = part_count() -%}
    {%- for part in range(parts) -%}
        {%- if parts > 1 -%} {% do choose_part(part, parts) %} {%- endif -%}
        {% do run_sql("main", "insert into " ~ target_relation ~ " (" ~ names ~ ") " ~ day_rows) %}
    {%- endfor %}
    {%- if parts > 1 -%} {% do choose_part("null", "null") %} {%- endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
