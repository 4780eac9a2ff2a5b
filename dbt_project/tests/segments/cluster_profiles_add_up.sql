{{ config(meta={"dagster": {"ref": {"name": "cluster_profiles"}}}) }}
-- Every user is in exactly one cluster, the profiles count them all, and their shares are 1 together.
with

    sizes as (select distinct cluster, users, users_share from {{ ref("cluster_profiles") }}),

    clusters as (select cluster, count(*) as users from {{ ref("user_clusters") }} group by cluster),

    final as (
        select coalesce(sizes.cluster, clusters.cluster) as cluster
        from sizes
        full outer join clusters on sizes.cluster = clusters.cluster
        where coalesce(sizes.users, 0) <> coalesce(clusters.users, 0)
        union all
        select 'all' as cluster
        from sizes
        having abs(sum(users_share) - 1) > 0.0001
    )

select *
from final
