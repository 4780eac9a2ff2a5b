{#-
    Whether rows keep the order of a sort on their way through windows without ORDER BY, one after the other,
    so that `funnel_stream` can be used. Elsewhere the windows of the portable form sort by themselves.
-#}
{% macro funnel_streams() -%} {{ return(adapter.dispatch("funnel_streams")()) }} {%- endmacro %}

{% macro default__funnel_streams() -%} {{ return(false) }} {%- endmacro %}

{% macro duckdb__funnel_streams() -%} {{ return(true) }} {%- endmacro %}
