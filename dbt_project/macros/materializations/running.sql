{#-
    A table that is taken from day to day instead of being built anew. What the model yields depends on `is_forward()`:
    built anew, the whole table; going forward, what `incremental_strategy` says:
    - delete+insert: rows that replace those of the same `unique_key` (nulls equal nulls); with meta `tombstones` a
      row with `is_gone` only deletes; with meta `replaced`, the name of a scratch table of the model with the `unique_key`
      of all whose rows are replaced, the new rows are written straight from the query, however many;
    - retire: new rows; rows of the same `unique_key` stay, marked with the day of removal in `removed_on`;
    - compare: the whole set; rows whose `unique_key` it lacks are retired, rows with a new one are added;
    - whole: the whole table, computed from what it held before.
    `incremental_predicates` pick the rows that may replace others, so that nothing is searched when there are none.
-#}
{% materialization running, default %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- set strategy = config.get("incremental_strategy") or "delete+insert" -%}
    {%- set unique_key = config.get("unique_key") -%}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {%- set forward = is_forward() -%}
    {%- set delta = this.identifier ~ "__delta" -%}
    {%- set replaced = model.config.meta.get("replaced") -%}
    {%- set has_delta = forward and strategy != "whole" and not replaced -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- if has_delta -%} {% do scratch_table(delta, compiled_code) %} {%- endif -%}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if not forward or strategy == "whole" %}
        {%- set intermediate_relation = make_intermediate_relation(target_relation) -%}
        {{ drop_relation_if_exists(load_cached_relation(intermediate_relation)) }}
        {% call statement("main") -%}
            {{ create_table_as(False, intermediate_relation, compiled_code) }}
        {%- endcall %}
        {{ drop_relation_if_exists(existing_relation) }}
        {{ adapter.rename_relation(intermediate_relation, target_relation) }}
    {% else %}
        {%- set names = (
            adapter.get_columns_in_relation(existing_relation)
            | map(attribute="quoted")
            | join(", ")
        ) -%}
        {%- set new_rows = delta if has_delta else "(" ~ compiled_code ~ "\n)" -%}
        {%- set replacing -%}
            select * from {{ scratch_name(replaced) if replaced else delta }}
            where {{ (config.get("incremental_predicates") or ["true"]) | join(" and ") }}
        {%- endset -%}
        {%- if strategy == "compare" -%}
            {% call statement("retired") -%}
                update {{ target_relation }}
                set removed_on = {{ as_of() }}
                where
                {{ other_rows(target_relation, keys, "select * from " ~ delta, "removed_on is null") }}
            {%- endcall %}
            {% call statement("main") -%}
                insert into {{ target_relation }} ({{ names }})
                select {{ names }}
                from {{ new_rows }} as new_rows
                where
                    not exists (
                        select 1
                        from {{ target_relation }} as held
                        where held.removed_on is null and held.{{ keys[0] }} = new_rows.{{ keys[0] }}
                    )
            {%- endcall %}
        {%- else -%}
            {%- if has_rows(replacing) -%}
                {% call statement("replaced") -%}
                    {%- if strategy == "retire" -%}
                        update {{ target_relation }}
                        set removed_on = {{ as_of() }}
                        where {{ same_rows(target_relation, keys, replacing, "removed_on is null") }}
                    {%- else -%}
                        delete from {{ target_relation }} where {{ same_rows(target_relation, keys, replacing) }}
                    {%- endif -%}
                {%- endcall %}
            {%- endif -%}
            {% call statement("main") -%}
                insert into {{ target_relation }} ({{ names }})
                select {{ names }}
                from {{ new_rows }} as new_rows
                {%- if model.config.meta.get("tombstones") %} where not is_gone {%- endif %}
            {%- endcall %}
        {%- endif -%}
    {% endif %}
    {% do record_running_model(forward) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {%- if has_delta -%} {% do drop_scratch_table(delta) %} {%- endif -%}
    {%- for name in model.config.meta.get("scratch", []) -%}
        {% do drop_scratch_table(this.identifier ~ "__" ~ name) %}
    {%- endfor -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
