{#- Features that behaviour clusters are made of, in the order of seeds/rules/cluster_archetypes.csv. -#}
{% macro cluster_features() -%}
    {{ return(["activity", "browsing", "content", "orders", "basket", "discount", "breadth"]) }}
{%- endmacro %}

{#-
    Each point with its nearest centre: whole numbers, squared distance, the first centre on a tie. `points` and
    `centres` have the `features` as columns, `centres` also cluster and cluster_order.
-#}
{% macro nearest_centre(points, centres, features) -%}
    select
        points.user_id,
        {%- for feature in features %} points.{{ feature }}, {%- endfor %}
        {#- Distance first, place second, in one number: distances are below 10 million, places below 1000. -#}
        min(
            1000 * (
                {%- for feature in features %}
                    (points.{{ feature }} - centres.{{ feature }})
                    * (points.{{ feature }} - centres.{{ feature }})
                    {%- if not loop.last %} + {%- endif %}
                {%- endfor %}
            )
            + centres.cluster_order
        )
        % 1000 as cluster_order
    from {{ points }} as points
    cross join {{ centres }} as centres
    group by points.user_id {%- for feature in features %}, points.{{ feature }} {%- endfor %}
{%- endmacro %}
