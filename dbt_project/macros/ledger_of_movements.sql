{#-
    The ledger of movements between segments: opening + came + moved_in - moved_out - gone = closing, per segmentation, day
    and segment. `moves` counts users by segmentation, as_of_date, from_segment (yesterday; null: was no user) and to_segment (today; null: is
    none any more); `segments` lists the segments that are to be shown on every day.
-#}
{% macro ledger_of_movements(moves, segments) -%}
    select
        shown.segmentation,
        shown.segment,
        shown.as_of_date,
        coalesce(sum(moves.users) filter (where moves.from_segment = shown.segment), 0) as opening,
        coalesce(
            sum(moves.users) filter (where moves.to_segment = shown.segment and moves.from_segment is null), 0
        ) as came,
        coalesce(
            sum(moves.users) filter (
                where moves.to_segment = shown.segment and moves.from_segment <> shown.segment
            ),
            0
        ) as moved_in,
        coalesce(
            sum(moves.users) filter (
                where moves.from_segment = shown.segment and moves.to_segment <> shown.segment
            ),
            0
        ) as moved_out,
        coalesce(
            sum(moves.users) filter (where moves.from_segment = shown.segment and moves.to_segment is null), 0
        ) as gone,
        coalesce(sum(moves.users) filter (where moves.to_segment = shown.segment), 0) as closing
    from
        (
            select segments.segmentation, segments.segment, days.as_of_date
            from {{ segments }} as segments
            cross join (select distinct as_of_date from {{ moves }}) as days
            union
            select segmentation, coalesce(to_segment, from_segment) as segment, as_of_date
            from {{ moves }}
            union
            select segmentation, coalesce(from_segment, to_segment) as segment, as_of_date
            from {{ moves }}
        ) as shown
    left join
        {{ moves }} as moves
        on shown.segmentation = moves.segmentation
        and shown.as_of_date = moves.as_of_date
        and (shown.segment = moves.from_segment or shown.segment = moves.to_segment)
    group by shown.segmentation, shown.segment, shown.as_of_date
{%- endmacro %}

{#-
    Users of two neighbouring days of a by-date table, in one row each: `columns` as from_… (the day before) and to_… (as_of_date). Days
    of the window history.days count whose day before is in the window and in the table as well.
-#}
{% macro day_by_day(table, columns) -%}
    select
        coalesce(later.user_id, earlier.user_id) as user_id,
        coalesce(later.as_of_date, {{ add_days("earlier.as_of_date", 1) }}) as as_of_date,
        later.user_id is not null as is_user,
        earlier.user_id is not null as was_user
        {%- for column in columns %}
            , earlier.{{ column }} as from_{{ column }}, later.{{ column }} as to_{{ column }}
        {%- endfor %}
    from
        (
            select *
            from {{ table }}
            where
                as_of_date > {{ add_days(as_of(), 1 - var("history_days")) }}
                and as_of_date <= {{ as_of() }}
                and {{ add_days("as_of_date", -1) }} in (select as_of_date from {{ table }})
        ) as later
    full outer join
        (
            select *
            from {{ table }}
            where
                as_of_date >= {{ add_days(as_of(), 1 - var("history_days")) }}
                and as_of_date < {{ as_of() }}
                and {{ add_days("as_of_date", 1) }} in (select as_of_date from {{ table }})
        ) as earlier
        on later.user_id = earlier.user_id
        and later.as_of_date = {{ add_days("earlier.as_of_date", 1) }}
{%- endmacro %}
