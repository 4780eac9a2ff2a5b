{#-
    Keys of the activity stream for what few of its rows differ in. A hash takes the engine a tenth of the time that a text
    takes to be stored; int_activity__kinds and int_activity__subjects hold the texts once.
    `table`: the input table, since an event may be called like the status of a message.
-#}
{% macro kind_key(table, name, channel, touchpoint) -%}
    {{ row_hash(["'" ~ table ~ "'", name, channel, touchpoint]) }}
{%- endmacro %}

{% macro subject_key(product_id, content_id, campaign_id) -%}
    {{ row_hash([product_id, content_id, campaign_id]) }}
{%- endmacro %}
