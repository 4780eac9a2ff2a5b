{#-
    Whether an identifier only fills a field: empty, or zeros or -1 where such a value cannot be real
    (phone, device_id, openid, unionid; never a source's own keys, where 0 may be a customer).
-#}
{% macro is_placeholder_id(id_type, id) -%}
    (
        coalesce(trim({{ id }}), '') = ''
        or (
            lower(trim({{ id_type }})) in ('phone', 'device_id', 'openid', 'unionid')
            and (trim({{ id }}) = '-1' or translate({{ id }}, '0 +-.', '') = '')
        )
    )
{%- endmacro %}
