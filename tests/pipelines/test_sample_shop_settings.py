from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.sample_shop_settings import DIRT_KINDS, SampleShop


def test_default_rates_lie_between_one_and_ten_in_a_thousand() -> None:
    assert len(SampleShop().dirt_rates) == len(DIRT_KINDS) == 8
    assert all(0.002 <= rate <= 0.01 for rate in SampleShop().dirt_rates)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        SampleShop(num_dayz=3)  # type: ignore[call-arg]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SampleShop().seed = 8


def test_too_many_events_for_the_users_are_refused_with_the_limit() -> None:
    assert SampleShop(num_users=100, events_per_day=800).events_per_day == 800
    with pytest.raises(ValidationError, match="events_per_day=801 is too many for num_users=100: at most 800"):
        SampleShop(num_users=100, events_per_day=801)


def test_too_few_items_for_the_clusters_are_refused_with_the_limit() -> None:
    with pytest.raises(ValidationError, match="num_items=11 is too few for num_clusters=3: at least 12"):
        SampleShop(num_items=11, num_clusters=3)


def test_rates_above_one_in_sum_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"sum to 1\.102"):
        SampleShop(null_user=0.6, malformed=0.47)


def test_without_dirt_changes_nothing_else() -> None:
    config = SampleShop(seed=3, num_days=4)
    assert config.without_dirt().dirt_rates == (0.0,) * 8
    assert config.without_dirt() == SampleShop.model_validate(
        {"seed": 3, "num_days": 4} | dict.fromkeys(DIRT_KINDS, 0.0)
    )


def test_days_and_catalogue_sizes_are_counted_from_the_first_day() -> None:
    config = SampleShop(first_day=date(2024, 2, 28), num_days=3, num_items=100, new_items_per_day=5)
    assert config.days == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert [config.day_index(day) for day in config.days] == [0, 1, 2]
    assert [config.num_items_on(index) for index in range(3)] == [100, 105, 110]


def test_streams_are_repeatable_and_differ_by_name_day_and_seed() -> None:
    def draw(config: SampleShop, stream: str, day_index: int) -> float:
        return config.generator(stream, day_index).random()  # type: ignore[arg-type]

    config = SampleShop()
    assert draw(config, "dirt", 3) == draw(config, "dirt", 3)
    draws = [draw(config, "dirt", 3), draw(config, "dirt", 4), draw(config, "sessions", 3)]
    assert len(np.unique([*draws, draw(SampleShop(seed=8), "dirt", 3)])) == 4
