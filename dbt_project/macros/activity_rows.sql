{#-
    Rows of the activity stream from a relation of facts, with the user of each.
    `activity`, `occurred_at`, `activity_id`, `key` and the named columns are SQL over the relation, which is called `fact`
    and, unless `user_from` names the column that holds the user, is joined to `owners` on `id_type` and `id`.
    A column that is not named is null. Facts without a moment, after as_of or without a user are left out.
    `key`: what tells the facts of the relation apart; stands for `activity_id` in `row_key`, the hash of all that a row says.
    `fact_key` is the hash of `key`. `among`: a relation of row_key and fact_key; only those rows are made, and of the other facts
    nothing is read but their keys.
-#}
{% macro activity_rows(
    relation,
    activity,
    occurred_at,
    activity_id,
    key,
    columns={},
    id_type="fact.id_type",
    id="fact.id",
    user_from=none,
    among=none
) -%}
    {%- set names = [
        "channel",
        "touchpoint",
        "product_id",
        "content_id",
        "campaign_id",
    ] -%}
    {%- set said = ["_actor_key", "_activity", "_occurred_at", "_amount"] -%}
    {%- for name in names -%} {%- do said.append("_" ~ name) -%} {%- endfor -%}
    select
        fact._actor_key as actor_key,
        fact._activity as activity,
        fact._occurred_at as occurred_at,
        {{ activity_id }} as activity_id,
        {% for name in names %} fact._{{ name }} as {{ name }}, {% endfor %}
        fact._amount as amount,
        fact._fact_key as fact_key,
        fact._row_key as row_key
    from
        (
            select fact.*, {{ row_hash(key) }} as _fact_key, {{ row_hash(said + key) }} as _row_key
            from
                (
                    select
                        fact.*,
                        {{ row_hash([user_from]) if user_from else "owners.owner_key" }} as _actor_key,
                        {{ activity }} as _activity,
                        {{ occurred_at }} as _occurred_at,
                        {% for name in names %}
                            {{ columns.get(name, "cast(null as varchar)") }} as _{{ name }},
                        {% endfor %}
                        cast({{ columns.get("amount", "null") }} as decimal(18, 4)) as _amount
                    {% if among %}
                        from
                            (
                                select *
                                from {{ relation }} as known
                                where {{ row_hash(key) }} in (select fact_key from {{ among }})
                            ) as fact
                    {% else %} from {{ relation }} as fact
                    {% endif %}
                    {% if not user_from %}
                        inner join owners on owners.actor_key = {{ row_hash([id_type, id]) }}
                    {% endif %}
                    where
                        {{ happened(occurred_at) }}
                        {% if user_from %} and {{ user_from }} is not null{% endif %}
                ) as fact
        ) as fact
    {% if among %} where fact._row_key in (select row_key from {{ among }}) {% endif %}
{%- endmacro %}
