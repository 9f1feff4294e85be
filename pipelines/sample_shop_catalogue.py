"""The words of the sample shop's catalogue: titles, categories, brands and prices.

Most items of a cluster share its category; the noun and the material follow the category. A few titles are hostile:
whatever reads or shows them must treat them as text.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.sample_shop_items import HOSTILE_ITEM_IDS, Items
from pipelines.sample_shop_settings import SampleShop

HOSTILE_TITLES = (
    'Red oak "reading" lamp',
    "<script>alert(1)</script>",
    "'; DROP TABLE items; --",
    "Bowl 🥣 with a smile 🙂",
    "Lamp\nwith a new line",
    "../../etc/passwd",
)
OWN_CATEGORY_SHARE = 0.9
MATERIALS = {
    "Lighting": ("oak", "brass", "glass", "paper"),
    "Furniture": ("oak", "pine", "walnut", "steel"),
    "Kitchen": ("ceramic", "steel", "glass", "bamboo"),
    "Clothing": ("cotton", "wool", "linen", "hemp"),
    "Garden": ("clay", "steel", "cedar", "zinc"),
    "Toys": ("beech", "maple", "felt", "cardboard"),
}
NOUNS = {
    "Lighting > Lamps": ("reading lamp", "desk lamp", "floor lamp"),
    "Lighting > Pendants": ("pendant light", "ceiling light", "lantern"),
    "Lighting > Candles": ("candle holder", "tealight stand", "candelabra"),
    "Lighting > Wall lights": ("wall light", "sconce", "picture light"),
    "Furniture > Tables": ("side table", "dining table", "writing desk"),
    "Furniture > Seating": ("stool", "armchair", "bench"),
    "Furniture > Storage": ("bookcase", "chest of drawers", "coat rack"),
    "Furniture > Beds": ("bed frame", "bedside table", "headboard"),
    "Kitchen > Bowls": ("salad bowl", "soup bowl", "mixing bowl"),
    "Kitchen > Drinking": ("mug", "tumbler", "carafe"),
    "Kitchen > Cooking": ("saucepan lid", "trivet", "spoon rest"),
    "Kitchen > Serving": ("serving board", "cake stand", "platter"),
    "Clothing > Tops": ("shirt", "jumper", "tunic"),
    "Clothing > Trousers": ("chinos", "shorts", "dungarees"),
    "Clothing > Accessories": ("scarf", "cap", "gloves"),
    "Clothing > Outerwear": ("overshirt", "cape", "work jacket"),
    "Garden > Pots": ("plant pot", "window box", "hanging planter"),
    "Garden > Tools": ("watering can", "tool box", "seed tray"),
    "Garden > Birds": ("bird table", "nest box", "bird bath"),
    "Garden > Outdoor": ("fire bowl", "trellis", "boot tray"),
    "Toys > Building": ("building blocks", "marble run", "castle"),
    "Toys > Puzzles": ("jigsaw", "stacking tower", "memory game"),
    "Toys > Animals": ("elephant", "rabbit", "whale"),
    "Toys > Vehicles": ("train", "tow truck", "sailing boat"),
}
COLOURS = ("red", "blue", "green", "yellow", "grey", "black", "white", "orange")
BRANDS = (
    "Nordlys",
    "Hearth & Co",
    "Tallow",
    "Brightwell",
    "Casa Lima",
    "Otter",
    "Fjell",
    "Marlow",
    "Sunday",
    "Ikebana",
)
CATEGORIES = tuple(NOUNS)
TOPS = tuple(MATERIALS)
MEDIAN_PRICE = 24.0


def catalogue_table(config: SampleShop, items: Items) -> pa.Table:
    """Return the words of all items in their order: the columns of a catalogue row, colour and material apart.

    `hostile_title` is null but for a few touched items, whose title it replaces.
    """
    num_items = len(items.ids)
    draws_ID = config.generator("words").random((num_items, 7))
    own_I = draws_ID[:, 0] < OWN_CATEGORY_SHARE
    category_I = np.where(own_I, items.cluster_I % len(CATEGORIES), _choice(draws_ID[:, 1], len(CATEGORIES)))
    top_I = np.array([TOPS.index(category.split(" > ")[0]) for category in CATEGORIES])[category_I]
    noun_I = category_I * 3 + _choice(draws_ID[:, 2], 3)
    material_I = top_I * 4 + _choice(draws_ID[:, 3], 4)
    return pa.table(
        {
            "id": pa.array(items.ids),
            "hostile_title": pa.array(_hostile_titles(items)),
            "category": encoded(category_I, CATEGORIES),
            "noun": encoded(noun_I, [noun for nouns in NOUNS.values() for noun in nouns]),
            "material": encoded(material_I, [name for names in MATERIALS.values() for name in names]),
            "colour": encoded(_choice(draws_ID[:, 4], len(COLOURS)), COLOURS),
            "brand": encoded(_choice(draws_ID[:, 5], len(BRANDS)), BRANDS),
            "price": pa.array(np.round(MEDIAN_PRICE * np.exp(3 * (draws_ID[:, 6] - 0.5)), 1)),
        }
    )


def encoded(code_N: NDArray[np.integer], words: list[str] | tuple[str, ...]) -> pa.DictionaryArray:
    """Return the words that the codes stand for; negative codes count from the end."""
    return pa.DictionaryArray.from_arrays(pa.array((code_N % len(words)).astype(np.int32)), pa.array(words))


def _choice(draw_I: NDArray[np.float64], num_choices: int) -> NDArray[np.int64]:
    return np.floor(draw_I * num_choices).astype(np.int64)


def _hostile_titles(items: Items) -> list[str | None]:
    titles: list[str | None] = [None] * len(items.ids)
    after_hostile_ids = items.order[len(HOSTILE_ITEM_IDS) : len(items.order) - len(items.untouched)]
    for number, title in zip(after_hostile_ids, HOSTILE_TITLES, strict=False):
        titles[number] = title
    return titles
