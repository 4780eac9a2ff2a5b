{#- A setting of RFM by its short name; refuses a value that no model knows. -#}
{% macro rfm_setting(name) -%}
    {%- set choices = {
        "frequency": ["days", "orders"],
        "monetary": ["net", "gross"],
        "scoring": ["quantile", "bounds"],
        "split": ["mean", "median", "fixed", "raw_mean"],
    } -%}
    {%- set value = var("rfm_" ~ name) -%}
    {%- if name in choices and value not in choices[name] -%}
        {{
            exceptions.raise_compiler_error(
                "rfm_" ~ name ~ " is " ~ value ~ "; it must be one of " ~ choices[name] | join(", ") ~ "."
            )
        }}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}
