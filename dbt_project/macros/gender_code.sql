{#- female, male or null from the ways sources write a gender. -#}
{% macro gender_code(gender) -%}
    case
        lower(trim({{ gender }}))
        when 'female'
        then 'female'
        when 'f'
        then 'female'
        when '女'
        then 'female'
        when 'male'
        then 'male'
        when 'm'
        then 'male'
        when '男'
        then 'male'
    end
{%- endmacro %}
