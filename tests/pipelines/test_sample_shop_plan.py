import numpy as np

from pipelines.sample_shop_dirt import KIND
from pipelines.sample_shop_plan import Plan
from pipelines.sample_shop_sessions import DAY_MS
from pipelines.sample_shop_settings import SampleShop

CONFIG = SampleShop(num_users=300, events_per_day=1500, late_event=0.05)


def test_nothing_comes_before_the_first_day() -> None:
    plan = Plan.until(CONFIG, 0)
    before = plan.batch(-1)
    assert (len(before.own_day), len(before.next_day), before.num_sessions) == (0, 0, 0)
    _, _, truth = next(plan.files(0, 0))
    assert truth.num_planted["late_event"] == 0


def test_a_file_has_its_day_and_what_the_day_before_left_over() -> None:
    plan = Plan.until(CONFIG, 2)
    _, rows, truth = next(plan.files(2, 2))
    late = rows["kind"] == KIND["late_event"]
    assert truth.num_planted["late_event"] == late.sum() > 20
    assert set(rows["time"][late] // DAY_MS) == {1}
    assert set(rows["time"][rows["kind"] == 0] // DAY_MS) == {2}
    assert set(rows["session"] // 10**8) == {0, 2, 3}


def test_rows_stand_in_order_of_arrival() -> None:
    for _, rows, _ in Plan.until(CONFIG, 3).files(0, 3):
        assert (np.diff(rows["arrival"]) >= 0).all()
        assert set(rows["arrival"] // DAY_MS) <= {rows["arrival"][0] // DAY_MS, rows["arrival"][0] // DAY_MS + 1}


def test_a_day_is_the_same_whatever_is_planned_around_it() -> None:
    *_, (day, rows, truth) = Plan.until(CONFIG, 9).files(0, 4)
    alone = next(Plan.until(CONFIG, 4).files(4, 4))
    assert (day, truth) == (alone[0], alone[2])
    np.testing.assert_array_equal(rows, alone[1])


def test_sessions_are_counted_where_they_start() -> None:
    plan = Plan.until(CONFIG, 1)
    batch = plan.batch(1)
    sessions = np.concatenate([batch.own_day["session"], batch.next_day["session"]])
    assert batch.num_sessions == len(set(sessions[sessions > 0])) > 200
