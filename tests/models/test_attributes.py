from collections.abc import Callable

import numpy as np

from models.attributes import AttributeMemory, link_attributes, plan_attributes
from models.catalogue import Catalogue
from models.code_selection import Selection
from models.field_plan import FIRST_SEEN
from models.moments import learn_moments
from models.moments_recall import MomentMemory, Reading
from models.sequences import Sequences
from tests.models.small_catalogue import values

Make = Callable[..., Sequences]
# Items 2 to 9: brands 2, 2, 3, 3, 2, 3, none, 4; colours two a piece at most.
BRAND = values([], [], [2], [2], [3], [3], [2], [3], [], [4], num_values=5)
COLOUR = values([], [], [2], [3], [2], [3], [2, 3], [3], [], [4], num_values=5)
SHOP = Catalogue(10, {"brand": BRAND, "colour": COLOUR}, {FIRST_SEEN: np.arange(10.0)})
ASK = Reading(num_moments=1, decay=1, back_off=1, num_winners=64, is_corrected=True)


def test_values_are_numbered_field_after_field_and_age_is_none() -> None:
    fields = plan_attributes(SHOP, np.ones(10, np.bool_))
    assert [field.name for field in fields] == ["brand", "colour"]
    links = link_attributes(SHOP, fields)
    rows = [links.columns[start:stop].tolist() for start, stop in zip(links.offsets, links.offsets[1:], strict=False)]
    assert rows == [[], [], [2, 7], [2, 8], [3, 7], [3, 8], [2, 7, 8], [3, 8], [], [4, 9]]


def test_an_item_that_nobody_touched_is_found_by_what_followed(sequences: Make) -> None:
    """After 9 comes brand 2 in both colours, after 4 what is of brand 3 and colour 3."""
    pieces = sequences(*[[9, 2], [9, 3], [4, 5]] * 5)
    how = Selection(16, 512, height=1e9, midpoint=0.5, slope=0.02, is_contextual=False)
    bank = learn_moments(pieces, np.ones(len(pieces.items), np.bool_), 10, how, 1, 1, np.random.default_rng(0))
    moments = MomentMemory.of([bank], 16, np.ones(1, np.float32))
    untouched = np.isin(np.arange(10), [6, 7, 8])
    links = link_attributes(SHOP, plan_attributes(SHOP, ~untouched))
    found = AttributeMemory(moments, links, untouched).found(sequences([9], [4], [8]), ASK, 5).toarray()
    assert found.argmax(axis=1)[:2].tolist() == [6, 7]
    assert set(np.flatnonzero(found.any(axis=0)).tolist()) == {6, 7}
    assert (found[:2].sum(axis=1) < 1).all()  # the rest of the shares is of items that somebody touched
    assert not found[2].any()
    every = AttributeMemory(moments, links, np.ones(10, np.bool_)).found(sequences([9], [4]), ASK, 9).toarray()
    np.testing.assert_allclose(every.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(every[:, 6:8], found[:2, 6:8], rtol=1e-5)
