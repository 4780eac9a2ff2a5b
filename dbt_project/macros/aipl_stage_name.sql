{#- Name of an AIPL stage by its rank, 1 to 4; anything else is none. -#}
{% macro aipl_stage_name(rank) -%}
    case
        {{ rank }}
        when 1
        then 'aware'
        when 2
        then 'interest'
        when 3
        then 'purchase'
        when 4
        then 'loyalty'
        else 'none'
    end
{%- endmacro %}
