{#-
    Whether an identifier only fills a field: empty, or zeros or -1 where such a value cannot be real
    (phone, device_id, openid, unionid; never a source's own keys, where 0 may be a customer), in full-width characters
    and behind the country code of mainland China too. The first character tells most identifiers apart at once.
-#}
{% macro is_placeholder_id(id_type, id) -%}
    case
        when
            coalesce(substr({{ id }}, 1, 1), '')
            not in ('', ' ', '　', '0', '０', '8', '８', '-', '－', '+', '＋', '.', '．', '(', ')', '（', '）', '·')
        then false
        when coalesce(trim({{ latin_digits(id) }}), '') = ''
        then true
        else
            lower(trim({{ id_type }})) in ('phone', 'device_id', 'openid', 'unionid')
            and (
                trim({{ latin_digits(id) }}) = '-1'
                or translate({{ latin_digits(id) }}, '0 +-.', '') = ''
                or (
                    lower(trim({{ id_type }})) = 'phone'
                    and regexp_extract(
                        translate({{ latin_digits(id) }}, ' -.()（）·', ''), '^([+]?0*(?:86)0*)$', 1
                    )
                    <> ''
                )
            )
    end
{%- endmacro %}
