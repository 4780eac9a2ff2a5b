{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["inviter_id_type", "inviter_id", "invitee_id_type", "invitee_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "referrals"), "referrals"),
                key=["inviter_id_type", "inviter_id", "invitee_id_type", "invitee_id"],
                late=happened("invited_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "referrals") }}),
    typed as (
        select
            cast(inviter_id_type as varchar) as inviter_id_type,
            cast(inviter_id as varchar) as inviter_id,
            cast(invitee_id_type as varchar) as invitee_id_type,
            cast(invitee_id as varchar) as invitee_id,
            cast(invited_at as timestamp) as invited_at,
            cast(joined_at as timestamp) as joined_at,
            cast(campaign_id as varchar) as campaign_id,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "referrals") }})
select *
from final
