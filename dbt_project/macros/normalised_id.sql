{#-
    An identifier in the one form it is compared in; null when it is empty.
    phone: separators and full-width characters removed, then 11 digits for a mobile number of mainland China
    (+86, 0086, 86 dropped), E.164 for one written with another country code, else the digits as they are.
    email: lower case. Everything else: trimmed, case kept.
-#}
{% macro normalised_id(id_type, id) -%}
    {%- set dialled -%}
        translate({{ id }}, '０１２３４５６７８９＋ 　-－.·()（）', '0123456789+')
    {%- endset -%}
    nullif(
        case
            lower(trim({{ id_type }}))
            when 'phone'
            then
                coalesce(
                    nullif(regexp_extract({{ id }}, '^(1[0-9]{10})$', 1), ''),
                    nullif(regexp_extract({{ dialled }}, '^(?:(?:[+]|00)?86)?(1[0-9]{10})$', 1), ''),
                    '+' || nullif(regexp_extract({{ dialled }}, '^(?:[+]|00)([1-9][0-9]{5,14})$', 1), ''),
                    nullif(regexp_extract({{ dialled }}, '^([0-9]+)$', 1), ''),
                    trim({{ id }})
                )
            when 'email'
            then lower(trim({{ id }}))
            else trim({{ id }})
        end,
        ''
    )
{%- endmacro %}
