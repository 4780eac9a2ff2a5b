"""The input layer: every table, column, type and key that Jingxi takes in.

This is the one place where the input layer is written down. The dbt sources, the staging models, the
intake checks and the documentation are generated from it or read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    """A column's type, with the DuckDB type it is stored as."""

    TEXT = "VARCHAR"
    INTEGER = "BIGINT"
    DECIMAL = "DECIMAL(18,4)"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"  # UTC; input without a zone is business time
    JSON = "JSON"  # kept as text that parses as JSON


@dataclass(frozen=True)
class Column:
    """One column of an input table."""

    name: str
    type: Type
    description: str
    required: bool = False


@dataclass(frozen=True)
class Table:
    """One input table. `key` is what two versions of the same record share; empty means that every
    record stands for itself. `dated_by` is the column whose business day a row belongs to."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    dated_by: str | None = None

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Names of the columns a file must have."""
        return tuple(column.name for column in self.columns if column.required)


# Tables with tens of millions of rows, of which a day brings few: taken further from day to day, not built anew.
HEAVY_TABLES = frozenset({"events", "touches"})

# Columns that intake adds to every raw row.
RAW_COLUMNS: tuple[Column, ...] = (
    Column("_file_id", Type.TEXT, "SHA-256 of the file the row came in, hexadecimal.", True),
    Column("_record", Type.INTEGER, "Number of the record in that file, from 1.", True),
    Column("_arrived_on", Type.DATE, "Business day on which the row was known.", True),
    Column("_taken_in_at", Type.TIMESTAMP, "When the file was taken in, UTC; rises with every file.", True),
)
# Where columns that the contract does not know are kept, as one JSON object.
PROPERTIES = Column("properties", Type.JSON, "Columns the contract does not know, as one JSON object.")


_TYPES = {
    "text": Type.TEXT,
    "integer": Type.INTEGER,
    "decimal": Type.DECIMAL,
    "date": Type.DATE,
    "timestamp": Type.TIMESTAMP,
    "json": Type.JSON,
}


def _table(name: str, description: str, columns: str, *, key: str, dated_by: str | None = None) -> Table:
    """A table from lines of `name[!] type description`."""
    parsed = []
    for line in columns.strip().splitlines():
        column, kind, text = line.split(maxsplit=2)
        parsed.append(Column(column.rstrip("!"), _TYPES[kind], text.strip(), column.endswith("!")))
    if not any(column.name == PROPERTIES.name for column in parsed):
        parsed.append(PROPERTIES)
    return Table(name, description, tuple(parsed), tuple(key.split()), dated_by)


_ID = """id_type! text Kind of the identifier.
id! text The identifier."""

TABLES: tuple[Table, ...] = (
    _table(
        "contacts",
        "One row per contact and staff member who follows it.",
        """contact_id! text External contact id.
        staff_id text Staff member who holds the contact; empty when not known.
        added_at! timestamp When the contact was added.
        deleted_at timestamp When the relation ended.
        deleted_by text Who ended it: staff or contact.
        blocked_at timestamp When the contact blocked the brand.
        add_way text How the contact was added.
        state_code text Landing code in the QR code or link.
        unionid text WeChat unionid.
        name text Name shown; personal data.""",
        key="contact_id staff_id",
        dated_by="added_at",
    ),
    _table(
        "landing_codes",
        "One row per landing code.",
        """state_code! text Code in the QR code or link.
        channel text Channel the code was placed in.
        campaign_id text Campaign.
        cost decimal Cost of the placement.
        persona text Staff persona who receives the entry.""",
        key="state_code",
    ),
    _table(
        "members",
        "One row per member.",
        """member_id! text Member number.
        registered_at timestamp When the member registered.
        unionid text WeChat unionid.
        phone text Phone number.
        email text E-mail address.
        device_id text Device.
        gender text Gender: female, male or empty.
        birth_date date Date of birth.
        age_band text Age band, when the date of birth is not known.
        income_band text Income band.
        household_size text Persons in the household.
        children_count text Children in the household.
        country text Country.
        province text Province.
        city text City.
        industry text Industry.
        company text Company.
        level text Member level.
        channel text Channel of registration.
        updated_at timestamp When the row was last changed.""",
        key="member_id",
        dated_by="registered_at",
    ),
    _table(
        "identity_links",
        "One row per pair of identifiers seen together.",
        """id_type_a! text Kind of the first identifier.
        id_a! text First identifier.
        id_type_b! text Kind of the second identifier.
        id_b! text Second identifier.
        linked_at! timestamp When they were seen together.
        source text What saw them: login, form, order, add_friend.""",
        key="id_type_a id_a id_type_b id_b",
        dated_by="linked_at",
    ),
    _table(
        "staff",
        "One row per staff member.",
        """staff_id! text Staff member.
        name text Name.
        team text Team.
        role text Role.
        persona text Persona shown to users.""",
        key="staff_id",
    ),
    _table(
        "groups",
        "One row per community group.",
        """group_id! text Group.
        name text Name.
        kind text Kind of group.
        owner_staff_id text Staff member who owns it.""",
        key="group_id",
    ),
    _table(
        "group_memberships",
        "One row per membership of an identifier in a group.",
        f"""group_id! text Group.
        {_ID}
        joined_at! timestamp When it joined.
        left_at timestamp When it left.""",
        key="group_id id_type id joined_at",
        dated_by="joined_at",
    ),
    _table(
        "products",
        "One row per product.",
        """product_id! text Product.
        name text Name.
        category_l1 text Category, first level.
        category_l2 text Category, second level.
        category_l3 text Category, third level.
        brand text Brand.
        price decimal List price.
        consumption_days integer Days one unit lasts.
        style text Style.""",
        key="product_id",
    ),
    _table(
        "orders",
        "One row per order.",
        """order_id! text Order.
        ordered_at! timestamp When it was placed.
        amount! decimal After discounts, without shipping.
        id_type text Kind of the buyer's identifier.
        id text The buyer's identifier; empty for a guest.
        paid_at timestamp When it was paid.
        status text paid, refunded, cancelled or closed; missing means paid.
        channel text Channel.
        store_id text Store.
        device_id text Device.
        country text Country.
        discount_amount decimal Discount.
        shipping_amount decimal Shipping.
        coupon_id text Coupon.
        campaign_id text Campaign.""",
        key="order_id",
        dated_by="ordered_at",
    ),
    _table(
        "order_lines",
        "One row per order line.",
        """order_id! text Order.
        line_number! integer Line of the order.
        product_id! text Product.
        quantity! decimal Quantity.
        amount! decimal After discounts.
        discount_amount decimal Discount.""",
        key="order_id line_number",
    ),
    _table(
        "refunds",
        "One row per refund.",
        """refund_id! text Refund.
        refunded_at! timestamp When it was refunded.
        amount! decimal Amount, positive.
        order_id text Order; empty when the refund names none.
        id_type text Kind of the identifier, when no order is named.
        id text Identifier, when no order is named.
        product_id text Product.
        quantity decimal Quantity.""",
        key="refund_id",
        dated_by="refunded_at",
    ),
    _table(
        "events",
        "One row per behaviour event.",
        f"""{_ID}
        event_name! text Event name as the source calls it.
        occurred_at! timestamp When it happened.
        event_id text Event; empty: file and record number stand for it.
        channel text Channel.
        touchpoint text Touchpoint.
        product_id text Product.
        content_id text Content.
        campaign_id text Campaign.
        session_id text Session.
        properties json Further properties, one JSON object.""",
        key="event_id",
        dated_by="occurred_at",
    ),
    _table(
        "campaigns",
        "One row per campaign.",
        """campaign_id! text Campaign.
        name text Name.
        kind text Kind.
        starts_at timestamp Start.
        ends_at timestamp End.
        cost decimal Cost.""",
        key="campaign_id",
        dated_by="starts_at",
    ),
    _table(
        "contents",
        "One row per content.",
        """content_id! text Content.
        title text Title.
        topic text Topic.
        style text Style.
        format text Format.
        published_at timestamp When it was published.""",
        key="content_id",
        dated_by="published_at",
    ),
    _table(
        "touches",
        "One row per touch and status.",
        f"""touch_id! text Touch.
        {_ID}
        channel! text Channel.
        status! text planned, sent, delivered, opened, clicked, replied, converted, failed, unsubscribed.
        occurred_at! timestamp When the status was reached.
        campaign_id text Campaign.
        journey_node text Journey node.
        content_id text Content.
        staff_id text Sender.""",
        key="touch_id status",
        dated_by="occurred_at",
    ),
    _table(
        "coupons",
        "One row per coupon issued.",
        f"""coupon_id! text Coupon.
        {_ID}
        issued_at! timestamp When it was issued.
        expires_at timestamp When it expires.
        used_at timestamp When it was used.
        order_id text Order it was used in.
        face_amount decimal Face value.""",
        key="coupon_id",
        dated_by="issued_at",
    ),
    _table(
        "leads",
        "One row per lead.",
        """lead_id! text Lead.
        created_at! timestamp First contact.
        id_type text Kind of the identifier.
        id text Identifier.
        origin text Origin.
        landing_page text Landing page.
        form text Form.
        mql_at timestamp When it became marketing qualified.
        sql_at timestamp When it became sales qualified.
        won_at timestamp When it was won.
        lost_at timestamp When it was lost.
        amount decimal Deal amount.
        business_segment text Business segment.
        owner_staff_id text Staff member who owns it.""",
        key="lead_id",
        dated_by="created_at",
    ),
    _table(
        "referrals",
        "One row per inviter and invitee.",
        """inviter_id_type! text Kind of the inviter's identifier.
        inviter_id! text Inviter.
        invitee_id_type! text Kind of the invitee's identifier.
        invitee_id! text Invitee.
        invited_at! timestamp When the invitation was made.
        joined_at timestamp When the invitee joined.
        campaign_id text Campaign.""",
        key="inviter_id_type inviter_id invitee_id_type invitee_id",
        dated_by="invited_at",
    ),
    _table(
        "surveys",
        "One row per answer.",
        f"""response_id! text Response.
        {_ID}
        answered_at! timestamp When it was answered.
        question! text Question.
        answer! text Answer.""",
        key="response_id question",
        dated_by="answered_at",
    ),
    _table(
        "manual_tags",
        "One row per tag set by hand.",
        f"""{_ID}
        tag! text Tag.
        set_at! timestamp When it was set.
        value text Value.
        set_by text Who set it.
        cleared_at timestamp When it was cleared.""",
        key="id_type id tag set_at",
        dated_by="set_at",
    ),
    _table(
        "channel_costs",
        "One row per day, channel and campaign.",
        """cost_date! date Business day.
        channel! text Channel.
        amount! decimal Cost.
        campaign_id text Campaign.
        impressions integer Impressions.
        clicks integer Clicks.""",
        key="cost_date channel campaign_id",
        dated_by="cost_date",
    ),
    _table(
        "experiment_assignments",
        "One row per experiment and identifier.",
        f"""experiment! text Experiment.
        {_ID}
        arm! text Arm.
        assigned_at! timestamp When it was assigned.""",
        key="experiment id_type id",
        dated_by="assigned_at",
    ),
    _table(
        "consents",
        "One row per change of a consent.",
        f"""{_ID}
        purpose! text Purpose: marketing or service.
        channel! text Channel.
        status! text granted or withdrawn.
        changed_at! timestamp When it changed.""",
        key="id_type id purpose channel changed_at",
        dated_by="changed_at",
    ),
    _table(
        "erasure_requests",
        "One row per request to be erased.",
        f"""request_id! text Request.
        {_ID}
        requested_at! timestamp When it was asked for.""",
        key="request_id",
        dated_by="requested_at",
    ),
    _table(
        "targets",
        "One row per metric, period and owner.",
        """metric! text Metric.
        period_start! date First day.
        period_end! date Last day.
        target! decimal Target.
        owner text Owner.""",
        key="metric period_start period_end owner",
        dated_by="period_start",
    ),
    _table(
        "benchmarks",
        "One row per funnel and step.",
        """funnel! text Funnel.
        step! integer Step.
        rate! decimal Rate from the previous step, 0 to 1.
        source text Where the figure comes from.""",
        key="funnel step",
    ),
)

TABLES_BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}
