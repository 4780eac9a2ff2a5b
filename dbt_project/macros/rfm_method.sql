{#- How scores and cells were made, in one line: it decides who counts as high, so it goes into the output. -#}
{% macro rfm_method() -%}
    {%- set parts = ["scoring=" ~ var("rfm_scoring"), "split=" ~ var("rfm_split")] -%}
    {%- if var("rfm_split") == "fixed" -%}
        {%- do parts.append("cut=" ~ var("rfm_fixed_cut")) -%}
    {%- endif -%}
    {%- do parts.append("frequency=" ~ var("rfm_frequency")) -%}
    {%- do parts.append("monetary=" ~ var("rfm_monetary")) -%}
    {%- do parts.append("window_days=" ~ (var("rfm_window_days") or "all")) -%}
    {%- if var("rfm_scoring") == "bounds" -%}
        {%- for metric in ["recency", "frequency", "monetary"] -%}
            {%- do parts.append(metric ~ "_bounds=" ~ var("rfm_" ~ metric ~ "_bounds") | join("/")) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ parts | join(" ") }}
{%- endmacro %}
