{#-
    The users whose activity stream has changed since `forward_from()`: owners of the actors in the CTE `actors`, and
    both sides of every identifier that went from one user to another, or to none. Reads the CTE `owners`.
-#}
{% macro touched_owners(actors) -%}
    select owners.owner_key
    from owners
    inner join {{ actors }} on owners.actor_key = {{ actors }}.actor_key
    where owners.owner_key is not null
    union
    select owner_key
    from owners
    where
        changed_on > {{ forward_from() }}
        and owner_key is not null
        and owner_key is distinct from previous_owner_key
    union
    select previous_owner_key as owner_key
    from owners
    where
        changed_on > {{ forward_from() }}
        and previous_owner_key is not null
        and owner_key is distinct from previous_owner_key
{%- endmacro %}
