{#- Adds to a table the columns of a query that it lacks. Returns the names of the query's columns, quoted, for an insert. -#}
{% macro add_new_columns(relation, query) -%}
    {%- set held = adapter.get_columns_in_relation(relation) | map(attribute="name") | list -%}
    {%- set names = get_columns_in_query(query) -%}
    {%- set new = names | reject("in", held) | list -%}
    {%- if new -%}
        {%- set shape = api.Relation.create(identifier=scratch_name("shape")) -%}
        {%- do scratch_table(shape.identifier, "select * from (" ~ query ~ ") as shape where false") -%}
        {%- set columns = adapter.get_columns_in_relation(shape) | selectattr("name", "in", new) | list -%}
        {%- do alter_relation_add_remove_columns(relation, columns, none) -%}
        {%- do drop_scratch_table(shape.identifier) -%}
    {%- endif -%}
    {%- set quoted = [] -%}
    {%- for name in names -%} {%- do quoted.append(adapter.quote(name)) -%} {%- endfor -%}
    {{ return(quoted | join(", ")) }}
{%- endmacro %}
