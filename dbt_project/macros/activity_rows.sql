{#-
    Rows of the activity stream from a relation of facts, with the user of each.
    `activity`, `occurred_at`, `activity_id` and the named columns are SQL over the relation, which is called `fact`
    and, unless `user_from` names the column that holds the user, is joined to `lookup` on `id_type` and `id`.
    A column that is not named is null. Facts without a moment, after as_of or without a user are left out.
-#}
{% macro activity_rows(
    relation,
    activity,
    occurred_at,
    activity_id,
    columns={},
    id_type="fact.id_type",
    id="fact.id",
    user_from=none
) -%}
    {%- set names = [
        "channel",
        "touchpoint",
        "product_id",
        "content_id",
        "campaign_id",
    ] -%}
    select
        {{ user_from or "lookup.user_id" }} as user_id,
        {{ activity }} as activity,
        {{ occurred_at }} as occurred_at,
        {{ activity_id }} as activity_id,
        {% for name in names %} {{ columns.get(name, "cast(null as varchar)") }} as {{ name }}, {% endfor %}
        cast({{ columns.get("amount", "null") }} as decimal(18, 4)) as amount
    from {{ relation }} as fact
    {% if not user_from %}
        inner join lookup on lookup.id_type = {{ id_type }} and lookup.id = {{ id }}
    {% endif %}
    where {{ happened(occurred_at) }}{% if user_from %} and {{ user_from }} is not null{% endif %}
{%- endmacro %}
