with
    written as (select * from {{ ref("int_identity__written") }} where identifier_key is not null),
    stated as (select * from {{ ref("int_identity__stated") }} where refused_because is null),
    grown as (select * from {{ ref("int_identity__grown") }}),
    families as (select * from {{ ref("int_identity__families") }}),
    day_components as (select * from {{ ref("int_identity__day_components") }}),
    joins as (
        select joins.*, families.component as family
        from {{ ref("int_identity__joins") }} as joins
        inner join families on families.node = joins.anchor_a
    ),
    days as (
        select family, counts_from as day
        from joins
        union
        select family, counts_until as day
        from joins
        where counts_until < {{ open_end() }}
    ),
    births as (select identifier_key, min(first_arrived_on) as born_on from written group by 1),
    -- What names each anchor's user at the end of each day on which that may change, and before.
    named as (
        select
            days.day,
            families.node as anchor,
            births.born_on < days.day as was_known,
            coalesce({{ day_node_key("day_components.component") }}, families.node) as name
        from families
        inner join days on days.family = families.component
        inner join births on births.identifier_key = families.node
        left join day_components on day_components.node = {{ day_node("days.day", "families.node") }}
    ),
    renamed as (
        select
            *, coalesce(lag(name) over (partition by anchor order by day nulls last), anchor) as name_before
        from named
    ),
    moved as (select * from renamed where was_known and name <> name_before),
    sizes as (
        select moved.day, moved.anchor, count(*) as identifiers
        from moved
        inner join
            (
                select node, component
                from grown
                union all
                select node, node as component
                from families
                where node not in (select node from grown)
            ) as parts
            on parts.component = moved.anchor
        inner join births on births.identifier_key = parts.node and births.born_on < moved.day
        group by 1, 2
    ),
    changes as (
        select
            moved.day as changed_on,
            moved.name_before as old_key,
            moved.name as new_key,
            -- The user is merged when the identifier that named it went along.
            bool_or(moved.anchor = moved.name_before) as is_merge,
            sum(sizes.identifiers) as identifiers
        from moved
        inner join sizes on sizes.day = moved.day and sizes.anchor = moved.anchor
        group by 1, 2, 3
    ),
    -- Links that began or ended on a day, once from either side.
    steps as (
        {% for begins, bound in [("true", "counts_from"), ("false", "counts_until")] %}
            {% for near, far in [("a", "b"), ("b", "a")] %}
                select
                    {{ begins }} as begins,
                    {{ bound }} as day,
                    identifier_key_a,
                    identifier_key_b,
                    anchor_{{ near }} as near_anchor,
                    anchor_{{ far }} as far_anchor
                from joins
                where {{ bound }} < {{ open_end() }}
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    -- A merge comes from a new link out of the user; a split from a link lost inside it.
    candidates as (
        select
            changes.changed_on,
            changes.old_key,
            changes.new_key,
            steps.identifier_key_a,
            steps.identifier_key_b,
            row_number() over (
                partition by changes.changed_on, changes.old_key, changes.new_key
                order by steps.identifier_key_a nulls last, steps.identifier_key_b nulls last
            ) as candidate
        from changes
        inner join steps on steps.day = changes.changed_on and steps.begins = changes.is_merge
        inner join
            renamed as near
            on near.day = steps.day
            and near.anchor = steps.near_anchor
            and near.name_before = changes.old_key
            and near.name = changes.new_key
            and near.was_known
        inner join renamed as far on far.day = steps.day and far.anchor = steps.far_anchor
        where
            case
                when changes.is_merge
                then not (far.was_known and far.name_before = changes.old_key)
                else far.was_known and far.name_before = changes.old_key and far.name <> changes.new_key
            end
    ),
    caused as (
        select changes.*, candidates.identifier_key_a, candidates.identifier_key_b
        from changes
        left join
            candidates
            on candidates.changed_on = changes.changed_on
            and candidates.old_key = changes.old_key
            and candidates.new_key = changes.new_key
            and candidates.candidate = 1
    ),
    -- The statement that began or ended with the link; one that went on tells that a limit decided.
    statements as (
        select
            caused.changed_on,
            caused.old_key,
            caused.new_key,
            stated.stated_by,
            stated.source,
            stated.linked_at,
            row_number() over (
                partition by caused.changed_on, caused.old_key, caused.new_key
                order by
                    case
                        when caused.is_merge and stated.stated_from = caused.changed_on
                        then 0
                        when not caused.is_merge and stated.stated_until = caused.changed_on
                        then 0
                        else 1
                    end,
                    stated.stated_by nulls last,
                    stated.source nulls last,
                    stated.stated_from nulls last
            ) as statement,
            -- Whether the link was stated before it began, or still is after it ended.
            bool_or(
                case
                    when caused.is_merge
                    then stated.stated_from < caused.changed_on and stated.stated_until >= caused.changed_on
                    else stated.stated_until > caused.changed_on
                end
            ) over (partition by caused.changed_on, caused.old_key, caused.new_key) as goes_on
        from caused
        inner join
            stated
            on stated.identifier_key_a = caused.identifier_key_a
            and stated.identifier_key_b = caused.identifier_key_b
            and stated.stated_from <= caused.changed_on
            and stated.stated_until >= caused.changed_on
    ),
    final as (
        select
            caused.changed_on,
            caused.old_key,
            caused.new_key,
            case when caused.is_merge then 'merge' else 'split' end as kind,
            case
                when caused.is_merge and statements.goes_on
                then 'limit_left'
                when caused.is_merge
                then 'link_stated'
                when statements.goes_on
                then 'limit_passed'
                else 'link_withdrawn'
            end as cause,
            caused.identifier_key_a,
            caused.identifier_key_b,
            statements.stated_by,
            statements.source,
            statements.linked_at,
            caused.identifiers
        from caused
        left join
            statements
            on statements.changed_on = caused.changed_on
            and statements.old_key = caused.old_key
            and statements.new_key = caused.new_key
            and statements.statement = 1
    )
select *
from final
