{#-
    Whether this running model goes on from `forward_from()` in this build: it holds that day, and so did every running
    model it reads, each of which went on from there too. In any doubt it is built anew. Unit tests override this.
-#}
{% macro is_forward() -%}
    {%- if not execute or should_full_refresh() -%} {{ return(false) }} {%- endif -%}
    {%- if not has_rows("select 1 as one where " ~ forward_from() ~ " is not null") -%}
        {{ return(false) }}
    {%- endif -%}
    {%- if load_cached_relation(this) is none or load_cached_relation(running_models()) is none -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set upstream = ["''"] -%}
    {%- for id in tables_read(model.depends_on.nodes) if graph.nodes[id].config.materialized == "running" -%}
        {%- do upstream.append("'" ~ graph.nodes[id].name ~ "'") -%}
    {%- endfor -%}
    {%- set holding -%}
        select model
        from {{ running_models() }}
        where
            (model = '{{ this.identifier }}' and as_of_date = {{ forward_from() }})
            or (
                model in ({{ upstream | join(", ") }})
                and as_of_date = {{ as_of() }}
                and since_date = {{ forward_from() }}
            )
    {%- endset -%}
    {{ return(run_query(holding).rows | length == upstream | length) }}
{%- endmacro %}

{#- Which day each running model holds, and the day it went on from (null: it was built anew). -#}
{% macro running_models() -%}
    {{
        return(
            api.Relation.create(
                database=target.database,
                schema=target.schema,
                identifier="running_models",
                type="table",
            )
        )
    }}
{%- endmacro %}

{#- Record that a running model holds as_of; part of the transaction that brings it there. -#}
{% macro record_running_model(forward) -%}
    {% call statement("running_models") -%}
        create table if not exists {{ running_models() }} (
            model {{ dbt.type_string() }}, as_of_date date, since_date date
        )
    {%- endcall %}
    {% call statement("running_models") -%}
        delete from {{ running_models() }} where model = '{{ this.identifier }}'
    {%- endcall %}
    {% call statement("running_models") -%}
        insert into {{ running_models() }}
        values (
            '{{ this.identifier }}',
        {{ as_of() }},
        {{ forward_from() if forward else "cast(null as date)" }}
        )
    {%- endcall %}
{%- endmacro %}

{#- Ids of the models among some nodes, and instead of each view of the models that it reads. -#}
{% macro tables_read(nodes) -%}
    {%- set found = [] -%}
    {%- for id in nodes if id in graph.nodes -%}
        {%- if graph.nodes[id].config.materialized == "view" -%}
            {%- do found.extend(tables_read(graph.nodes[id].depends_on.nodes)) -%}
        {%- else -%} {%- do found.append(id) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found | unique | list) }}
{%- endmacro %}
