"""What the simulated brand owns: products, contents, campaigns, landing codes, staff, groups, places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.ingestion.simulator.window import DAY, HOUR, Ints, Window, generator

STYLES = ("fresh", "commute", "luxury", "sweet", "natural", "bold")
STYLES_ZH = ("清新", "通勤", "奢华", "甜美", "自然", "个性")
CATEGORIES = ("skincare", "makeup", "body_hair", "tools")
CATEGORY_SHARES = (0.5, 0.3, 0.14, 0.06)
BRANDS = ("chengguang", "suye", "jincui", "richang")
BRANDS_ZH = ("澄光", "素野", "金萃", "日常")
_BRAND_PRICE = (1.2, 1.0, 2.6, 0.6)

CHANNELS = (
    "xiaohongshu",
    "douyin",
    "wechat_moments_ads",
    "store_qr",
    "parcel_card",
    "official_account",
    "mini_program",
    "referral",
)
CHANNEL_SHARES = (0.2, 0.16, 0.1, 0.14, 0.1, 0.12, 0.1, 0.08)
REFERRAL = CHANNELS.index("referral")
# Yuan per new user; 0 = no media cost.
CHANNEL_COST = (38.0, 45.0, 62.0, 8.0, 3.0, 0.0, 0.0, 0.0)
PERSONAS = ("beauty_advisor", "skin_expert", "welfare_officer", "store_manager")

# l1, l2, zh, price in yuan, days one unit lasts (0: not used up)
_LINES = (
    ("skincare", "cleanser", "洁面", 89, 60),
    ("skincare", "toner", "爽肤水", 139, 60),
    ("skincare", "serum", "精华", 299, 45),
    ("skincare", "cream", "面霜", 239, 60),
    ("skincare", "mask", "面膜", 99, 21),
    ("skincare", "sunscreen", "防晒", 129, 45),
    ("skincare", "eye_cream", "眼霜", 259, 75),
    ("makeup", "lipstick", "口红", 159, 120),
    ("makeup", "foundation", "粉底", 219, 90),
    ("makeup", "eyeshadow", "眼影", 169, 0),
    ("makeup", "mascara", "睫毛膏", 119, 90),
    ("makeup", "blush", "腮红", 99, 0),
    ("makeup", "remover", "卸妆", 89, 40),
    ("body_hair", "body_lotion", "身体乳", 79, 45),
    ("body_hair", "shampoo", "洗发水", 69, 40),
    ("body_hair", "hair_mask", "发膜", 89, 50),
    ("body_hair", "hand_cream", "护手霜", 39, 30),
    ("tools", "brush", "化妆刷", 129, 0),
    ("tools", "sponge", "美妆蛋", 29, 30),
    ("tools", "mirror", "化妆镜", 99, 0),
)
_EFFECTS = ("hydrating", "brightening", "firming", "soothing")
_EFFECTS_ZH = ("补水", "亮肤", "紧致", "舒缓")
_TOPICS = ("skin_basics", "makeup_lesson", "ingredients", "new_arrival", "member_story", "season_care")
_TOPICS_ZH = ("护肤基础", "化妆课", "成分党", "新品", "会员故事", "换季护理")
_FORMATS = ("article", "short_video", "live", "poster", "course")
LIVE_FORMAT = _FORMATS.index("live")
COURSE_FORMAT = _FORMATS.index("course")
SLOTS = 128

# province, weight, cities (the first is the most frequent)
PLACES: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("广东", 11, ("广州", "深圳", "佛山", "东莞", "珠海")),
    ("浙江", 9, ("杭州", "宁波", "温州", "金华")),
    ("江苏", 9, ("南京", "苏州", "无锡", "南通")),
    ("上海", 8, ("上海",)),
    ("北京", 7, ("北京",)),
    ("四川", 6, ("成都", "绵阳", "乐山")),
    ("山东", 5, ("济南", "青岛", "烟台")),
    ("湖北", 5, ("武汉", "宜昌", "襄阳")),
    ("河南", 4, ("郑州", "洛阳")),
    ("福建", 4, ("福州", "厦门", "泉州")),
    ("湖南", 4, ("长沙", "株洲", "岳阳")),
    ("重庆", 3, ("重庆",)),
    ("陕西", 3, ("西安", "咸阳")),
    ("安徽", 3, ("合肥", "芜湖")),
    ("河北", 3, ("石家庄", "唐山", "保定")),
    ("辽宁", 3, ("沈阳", "大连")),
    ("天津", 2, ("天津",)),
    ("江西", 2, ("南昌", "赣州")),
    ("云南", 2, ("昆明", "大理")),
    ("广西", 2, ("南宁", "桂林")),
    ("黑龙江", 1, ("哈尔滨",)),
    ("吉林", 1, ("长春",)),
    ("贵州", 1, ("贵阳",)),
    ("山西", 1, ("太原",)),
    ("内蒙古", 1, ("呼和浩特",)),
    ("新疆", 1, ("乌鲁木齐",)),
    ("海南", 1, ("海口", "三亚")),
    ("甘肃", 1, ("兰州",)),
    ("宁夏", 0.5, ("银川",)),
    ("青海", 0.3, ("西宁",)),
    ("西藏", 0.2, ("拉萨",)),
)
INDUSTRIES = ("education", "finance", "internet", "manufacturing", "medical", "retail", "beauty_salon")
FAMILY_NAMES = tuple("林叶江何宋许沈苏梁程")
GIVEN_NAMES = ("小满", "知夏", "安然", "一诺", "清和", "子衿", "乐之", "思远", "若溪", "念初", "星野", "可可")


@dataclass(frozen=True)
class Brand:
    """Codes and columns of everything the brand owns. Arrays have one element per product, content and so on."""

    products: dict[str, list[object]]
    price_cents: Ints
    consumption_days: Ints
    # slots[style, category]: product codes, popular ones more often
    slots: Ints
    # the same for what is used up and bought again
    refill_slots: Ints
    contents: dict[str, list[object]]
    content_style: Ints
    content_published: Ints
    content_format: Ints
    content_slots: Ints
    campaigns: dict[str, list[object]]
    campaign_start: Ints
    campaign_end: Ints
    landing_codes: dict[str, list[object]]
    # landing code numbers by channel
    codes_by_channel: list[list[int]]
    staff_count: int
    group_count: int


def found_brand(window: Window, seed: int, users: int) -> Brand:
    """The brand of a seed. `users` sets how many staff and groups there are."""
    random = generator(seed, "brand")
    products, category, style = _products()
    count = len(category)
    popularity = random.pareto(1.3, count) + 0.3
    consumption = np.array([days or 0 for days in products["consumption_days"]], dtype=np.int64)
    slots = _slots(random, category, style, popularity, np.ones(count, dtype=bool))
    refill = _slots(random, category, style, popularity, consumption > 0)
    contents, content_style, published, content_format = _contents(window, random)
    content_slots = np.stack(
        [random.choice(np.flatnonzero(content_style == code), SLOTS) for code in range(len(STYLES))]
    )
    campaigns, starts, ends = _campaigns(window)
    landing, by_channel = _landing_codes(campaigns)
    return Brand(
        products=products,
        price_cents=np.array([round(float(str(price)) * 100) for price in products["price"]], dtype=np.int64),
        consumption_days=consumption,
        slots=slots,
        refill_slots=refill,
        contents=contents,
        content_style=content_style,
        content_published=published,
        content_format=content_format,
        content_slots=content_slots,
        campaigns=campaigns,
        campaign_start=starts,
        campaign_end=ends,
        landing_codes=landing,
        codes_by_channel=by_channel,
        staff_count=min(200, max(8, users // 250)),
        group_count=min(2_000, max(6, users // 120)),
    )


def _products() -> tuple[dict[str, list[object]], Ints, Ints]:
    columns: dict[str, list[object]] = {
        name: []
        for name in (
            [
                "product_id",
                "name",
                "category_l1",
                "category_l2",
                "category_l3",
                "brand",
                "price",
                "consumption_days",
                "style",
            ]
        )
    }
    categories, styles = [], []
    for line, (l1, l2, zh, price, days) in enumerate(_LINES):
        for style in range(len(STYLES)):
            number = line * len(STYLES) + style
            brand = (
                (line + style) % len(BRANDS) if style != STYLES.index("luxury") else BRANDS.index("jincui")
            )
            effect = (line * 5 + style) % len(_EFFECTS)
            row = (
                f"P{number + 1:04d}",
                f"{BRANDS_ZH[brand]}{STYLES_ZH[style]}{_EFFECTS_ZH[effect]}{zh}",
                l1,
                l2,
                f"{l2}_{_EFFECTS[effect]}",
                BRANDS[brand],
                round(price * _BRAND_PRICE[brand]) - 0.1
                if line % 3
                else float(round(price * _BRAND_PRICE[brand])),
                days or None,
                STYLES[style],
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            categories.append(CATEGORIES.index(l1))
            styles.append(style)
    return columns, np.array(categories), np.array(styles)


def _slots(
    random: np.random.Generator,
    category: Ints,
    style: Ints,
    popularity: np.ndarray[tuple[int], np.dtype[np.float64]],
    allowed: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> Ints:
    table = np.empty((len(STYLES), len(CATEGORIES), SLOTS), dtype=np.int16)
    for row in range(len(STYLES)):
        for column in range(len(CATEGORIES)):
            choices = np.flatnonzero((style == row) & (category == column) & allowed)
            weights = popularity[choices]
            table[row, column] = random.choice(choices, SLOTS, p=weights / weights.sum())
    return table


def _contents(
    window: Window, random: np.random.Generator
) -> tuple[dict[str, list[object]], Ints, Ints, Ints]:
    count = 96
    style = np.arange(count) % len(STYLES)
    topic = (np.arange(count) // len(STYLES)) % len(_TOPICS)
    kind = (np.arange(count) * 7 // 3) % len(_FORMATS)
    kind[:2] = LIVE_FORMAT, COURSE_FORMAT
    published = np.sort(random.integers(-120 * DAY, max(window.seconds - 5 * DAY, DAY), count))
    published[: count // 3] = np.minimum(published[: count // 3], 8 * HOUR)
    columns: dict[str, list[object]] = {
        "content_id": [f"CT{number + 1:04d}" for number in range(count)],
        "title": [
            f"{STYLES_ZH[s]}{_TOPICS_ZH[t]}第{number + 1}期"
            for number, (s, t) in enumerate(zip(style, topic, strict=True))
        ],
        "topic": [_TOPICS[code] for code in topic],
        "style": [STYLES[code] for code in style],
        "format": [_FORMATS[code] for code in kind],
    }
    return columns, style, published, kind


def _campaigns(window: Window) -> tuple[dict[str, list[object]], Ints, Ints]:
    names, kinds, costs, starts, ends = [], [], [], [], []
    for first, last, factor in window.festivals():
        if last < -30:
            continue
        day = window.date(first)
        names.append(f"{day.year}年{day.month}月大促")
        kinds.append("promotion")
        costs.append(20_000 * factor)
        starts.append(first)
        ends.append(last)
    for first, last in window.periods(30):
        names.append(f"{window.date(first):%Y-%m-%d}社群会员周")
        kinds.append("community")
        costs.append(5_000.0)
        starts.append(first)
        ends.append(min(first + 6, last))
    for name, kind, cost in (
        ("小红书种草", "content", 30_000.0),
        ("老带新", "referral", 12_000.0),
        ("常规私信", "message", 3_000.0),
    ):
        names.append(name)
        kinds.append(kind)
        costs.append(cost)
        starts.append(0)
        ends.append(window.days - 1)
    columns: dict[str, list[object]] = {
        "campaign_id": [f"CP{number + 1:03d}" for number in range(len(names))],
        "name": list(names),
        "kind": list(kinds),
        "cost": list(costs),
    }
    return columns, np.array(starts), np.array(ends)


def _landing_codes(campaigns: dict[str, list[object]]) -> tuple[dict[str, list[object]], list[list[int]]]:
    columns: dict[str, list[object]] = {
        name: [] for name in ("state_code", "channel", "campaign_id", "cost", "persona")
    }
    by_channel: list[list[int]] = []
    content = campaigns["campaign_id"][campaigns["kind"].index("content")]
    referral = campaigns["campaign_id"][campaigns["kind"].index("referral")]
    for code, channel in enumerate(CHANNELS):
        by_channel.append([])
        for place in range(3):
            by_channel[-1].append(len(columns["state_code"]))
            row = (
                f"{channel}_{place + 1:02d}",
                channel,
                content if channel == "xiaohongshu" else referral if channel == "referral" else None,
                round(CHANNEL_COST[code] * 400 * (1 + place) / 3, 2),
                PERSONAS[(code + place) % len(PERSONAS)],
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return columns, by_channel
