import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_dirt import KIND, plant_dirt
from pipelines.sample_shop_sessions import DAY_MS, ROW
from pipelines.sample_shop_settings import DIRT_KINDS, SampleShop

CLEAN = SampleShop().without_dirt()
MIDNIGHT = 3 * DAY_MS


def some_rows(num_rows: int = 1000, num_after_midnight: int = 100) -> NDArray[np.void]:
    """Rows of the day before `MIDNIGHT`, a second apart, of which the last lie after it."""
    rows = np.zeros(num_rows, ROW)
    rows["user"], rows["session"], rows["item"] = 5, 77, np.arange(num_rows)
    rows["time"] = MIDNIGHT + 1000 * (np.arange(num_rows) - num_rows + num_after_midnight)
    rows["arrival"] = rows["time"]
    return rows


def only(kind: str) -> SampleShop:
    return CLEAN.model_copy(update={kind: 1.0})


def test_clean_rows_are_split_at_midnight_and_stay_as_they_are() -> None:
    own, following = plant_dirt(CLEAN, some_rows(), 2)
    np.testing.assert_array_equal(np.concatenate([own, following]), some_rows())
    assert len(following) == 100


def test_null_user_has_neither_user_nor_session() -> None:
    own, _ = plant_dirt(only("null_user"), some_rows(), 2)
    assert set(own["user"]) == {-1}
    assert set(own["session"]) == {0}


def test_null_and_unknown_items_are_told_apart() -> None:
    null, _ = plant_dirt(only("null_item"), some_rows(), 2)
    unknown, _ = plant_dirt(only("unknown_item"), some_rows(), 2)
    assert set(null["item"]) == {-1}
    assert set(unknown["item"]) == set(range(-51, -1))


def test_future_times_lie_whole_days_and_at_least_thirty_ahead() -> None:
    own, _ = plant_dirt(only("future_time"), some_rows(), 2)
    ahead = own["time"] - own["arrival"]
    assert (ahead % DAY_MS == 0).all()
    assert ahead.min() >= 30 * DAY_MS


def test_late_events_keep_their_time_and_move_to_the_next_file() -> None:
    own, following = plant_dirt(only("late_event"), some_rows(), 2)
    late = following[following["kind"] == KIND["late_event"]]
    assert len(own) == 0
    assert len(late) == 900
    assert late["time"].max() < MIDNIGHT
    assert ((late["arrival"] >= MIDNIGHT) & (late["arrival"] < MIDNIGHT + DAY_MS)).all()
    assert len(following) == 1000


def test_a_duplicate_is_the_same_row_again_in_the_same_file() -> None:
    own, following = plant_dirt(only("duplicate_row"), some_rows(), 2)
    assert (len(own), len(following)) == (1800, 200)
    for file in (own, following):
        copies = file[file["kind"] == KIND["duplicate_row"]]
        originals = file[file["kind"] == 0]
        for field in ("user", "session", "item", "event", "time"):
            np.testing.assert_array_equal(copies[field], originals[field])
        assert (copies["arrival"] > originals["arrival"]).all()


def test_every_kind_is_planted_at_its_rate_and_a_row_bears_one() -> None:
    config = CLEAN.model_copy(update={kind: 0.01 * place for place, kind in enumerate(DIRT_KINDS, start=1)})
    own, following = plant_dirt(config, some_rows(100_000, 0), 2)
    counts = np.bincount(np.concatenate([own, following])["kind"]) / 100_000
    np.testing.assert_allclose(counts[1:], np.arange(1, 9) / 100, atol=0.002)
