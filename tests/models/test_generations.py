import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.generations import Generation, generations
from models.sequences import SECONDS_PER_DAY, Sequences

Piece = list[int]


def on_days(*subjects: list[tuple[int, int]]) -> Sequences:
    """Sequences of (item, day)."""
    events = [event for subject in subjects for event in subject]
    offsets = np.cumsum([0, *map(len, subjects)]).astype(np.int64)
    items = np.array([item for item, _ in events], np.int32)
    return Sequences(items, np.array([day for _, day in events], np.int64) * SECONDS_PER_DAY + 5, offsets)


def pieces(found: Generation) -> list[Piece]:
    cut = found.pieces
    return [cut.items[start:stop].tolist() for start, stop in zip(cut.offsets, cut.offsets[1:], strict=False)]


def cut(
    sequences: Sequences, num_days: int, num_before: int = 0, max_events: int = 50, days_before: int = 7
) -> dict[int, list[Piece]]:
    found = generations(sequences, num_days, num_before, days_before, max_events)
    return {some.day: pieces(some) for some in found}


TWO = on_days([(2, 9), (3, 9), (4, 10), (5, 12)], [(6, 10), (6, 10)])


def test_each_generation_has_the_events_of_its_days_and_begins_with_those_before() -> None:
    assert cut(TWO, 1) == {9: [[2, 3]], 10: [[4], [6, 6]], 12: [[5]]}
    assert cut(TWO, 1, num_before=2) == {9: [[2, 3]], 10: [[2, 3, 4], [6, 6]], 12: [[3, 4, 5]]}
    assert cut(TWO, 1, num_before=2, days_before=2) == {9: [[2, 3]], 10: [[2, 3, 4], [6, 6]], 12: [[4, 5]]}
    assert cut(TWO, 1, num_before=2, days_before=0) == cut(TWO, 1)
    assert cut(TWO, 2) == {8: [[2, 3]], 10: [[4], [6, 6]], 12: [[5]]}


def test_without_days_there_is_one_generation() -> None:
    assert cut(TWO, 0, num_before=8) == {0: [[2, 3, 4, 5], [6, 6]]}


def test_a_longer_piece_becomes_several() -> None:
    assert cut(on_days([(item, 1) for item in range(2, 9)]), 1, max_events=3) == {1: [[2, 3, 4], [5, 6, 7], [8]]}
    assert cut(on_days([(item, 1) for item in range(2, 7)]), 1, 1, 3) == {1: [[2, 3, 4], [4, 5, 6]]}


def test_no_event_makes_no_generation() -> None:
    assert list(generations(Sequences.empty(3), 1, 8, 7, 50)) == []


def test_what_is_its_own_is_told_from_what_was_before() -> None:
    (*_, last) = generations(TWO, 1, 2, 7, 50)
    assert pieces(last) == [[3, 4, 5]]
    assert last.is_own().tolist() == [False, False, True]
    assert last.own().items.tolist() == [5]


def test_a_day_depends_on_no_day_that_is_much_older() -> None:
    """A window that rolls on takes away the oldest days."""
    days = on_days(*[[(2 + day % 7, day) for day in range(30)] for _ in range(3)])
    whole = {some.day: some.digest() for some in generations(days, 1, 8, 3, 50)}
    later = {some.day: some.digest() for some in generations(days.where(days.times >= 86_400), 1, 8, 3, 50)}
    assert [day for day, digest in later.items() if digest != whole[day]] == [1, 2, 3]


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=12).map(sorted), max_size=5),
    st.integers(0, 4), st.integers(1, 4),
)  # fmt: skip
def test_every_event_is_in_one_piece(days: list[list[int]], num_days: int, max_events: int) -> None:
    numbered = iter(range(2, 1000))
    sequences = on_days(*[[(next(numbered), day) for day in subject] for subject in days])
    found = cut(sequences, num_days, 0, max_events)
    assert sorted(item for some in found.values() for piece in some for item in piece) == sequences.items.tolist()
    assert max((len(piece) for some in found.values() for piece in some), default=0) <= max_events


def test_a_digest_tells_what_is_learnt_apart() -> None:
    one, *_ = generations(TWO, 1, 0, 7, 50)
    assert one.digest(7) == next(iter(generations(TWO, 1, 0, 7, 50))).digest(7)
    others = [
        one.digest(8),
        Generation(one.day + 1, one.pieces, one.num_before).digest(7),
        Generation(one.day, one.pieces, one.num_before, 1).digest(7),
        Generation(one.day, one.pieces, one.num_before + 1).digest(7),
        Generation(one.day, TWO, one.num_before).digest(7),
    ]
    assert len({one.digest(7), *others}) == 6
