"""From what training begins: random weights, those of the night before, what a killed one left; how it breaks down."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from models import sparsey
from models.checkpoint import WEIGHTS_FILE
from models.generations import Generation
from models.stages import StepRecord
from pipelines import training
from pipelines.errors import InputError
from pipelines.fitting import Fit, fit_here
from pipelines.night import Night
from pipelines.training import CHECKPOINTS, EVALUATION, SERVING, _start, train_model
from pipelines.training_data import load_training_data
from tests.pipelines.small_store import Row, Visit, day, make_night, shop_settings, train
from tests.pipelines.small_training import WEEK, checkpoint, folder_of

pytestmark = pytest.mark.usefixtures("one_thread")


BARELY: Row = {"num_epochs": 1, "learning_rate": 1e-7, "precision": "float32"}
NIGHT_AFTER = (*WEEK, Visit("ann", 6, "abg"), Visit("bob", 6, "gab"))  # g is new


def table_of(night: Night, chain: str) -> np.ndarray:
    return load_file(folder_of(night, "sasrec", chain) / WEIGHTS_FILE)["items.weight"]


def two_nights(root: Path, *, warm_start: bool, **second: object) -> tuple[Night, Night]:
    """Train on day 5, then, hardly any more, on day 6."""
    first = train(make_night(root, WEEK, 5, shop_settings("sasrec")))
    training = {"warm_start": warm_start, "settings": {"sasrec": BARELY | second}}
    return first, train(make_night(root, NIGHT_AFTER, 6, shop_settings("sasrec", training=training)))


def test_each_chain_goes_on_from_its_own_weights_of_the_night_before(tmp_path: Path) -> None:
    first, second = two_nights(tmp_path, warm_start=True)
    for chain in (EVALUATION, SERVING):
        before, after = table_of(first, chain), table_of(second, chain)
        assert len(after) == len(before) + 1
        np.testing.assert_allclose(after[: len(before)], before, atol=1e-5)
    assert not np.allclose(table_of(second, EVALUATION), table_of(second, SERVING), atol=1e-3)


def test_without_a_warm_start_weights_are_drawn_anew(tmp_path: Path) -> None:
    first, second = two_nights(tmp_path, warm_start=False)
    before, after = table_of(first, SERVING), table_of(second, SERVING)
    assert not np.allclose(after[: len(before)], before, atol=1e-3)


def test_another_network_starts_anew_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, second = two_nights(tmp_path, warm_start=True, dim=16)
    assert table_of(second, SERVING).shape[1] == 16
    assert "sasrec starts anew: dim is not what it was the night before" in caplog.text


def test_heads_that_leave_the_shapes_alone_make_another_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two_nights(tmp_path, warm_start=True, num_heads=2)
    assert "sasrec starts anew: num_heads is not what" in caplog.text
    before, after = table_of(first, SERVING), table_of(second, SERVING)
    assert not np.allclose(after[: len(before)], before, atol=1e-3)


def test_sparsey_learns_the_new_days_alone_and_is_what_it_is_without_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    days: list[int] = []
    learn = sparsey.learn_bank

    def recorded(generation: Generation, *others: Any) -> Any:
        days.append(generation.day - (day(0) - date(1970, 1, 1)).days)
        return learn(generation, *others)

    monkeypatch.setattr(sparsey, "learn_bank", recorded)
    one_a_day = {"settings": {"sparsey": {"generation_days": 1, "num_units": 1024}}}
    settings = shop_settings("sparsey", training=one_a_day)
    train(make_night(tmp_path / "all", WEEK, 5, settings))
    days.clear()
    second = train(make_night(tmp_path / "all", NIGHT_AFTER, 6, settings))
    assert sorted(days) == [3, 6]  # the evaluation now knows the day that it held out
    assert "anew" not in caplog.text
    alone = train(make_night(tmp_path / "alone", NIGHT_AFTER, 6, settings))
    for chain in (EVALUATION, SERVING):
        started, fresh = (load_file(folder_of(n, "sparsey", chain) / WEIGHTS_FILE) for n in (second, alone))
        assert started.keys() == fresh.keys()
        for name, array in started.items():
            np.testing.assert_array_equal(array, fresh[name])


def test_a_night_that_is_trained_again_starts_from_the_night_before_it_and_is_the_same(tmp_path: Path) -> None:
    _, second = two_nights(tmp_path, warm_start=True)
    before = second.current(CHECKPOINTS)
    again = replace(second, run_id="again")
    again.store.publish(train_model(again, "sasrec"))
    assert again.current(CHECKPOINTS) == before


def test_an_evaluation_that_has_seen_too_late_a_day_is_no_start(tmp_path: Path) -> None:
    """Days 5 and 6 are gone: what night 5 has evaluated on days up to 2 is a start, what it has served is not."""
    make_night(tmp_path, WEEK, 5, shop_settings("sasrec"))
    first = train(make_night(tmp_path, WEEK, 5, shop_settings("sasrec")))
    data = load_training_data(first)
    later, config = replace(first, first=day(6), day=day(6)), first.settings.training.config_of("sasrec")
    assert _start(later, "sasrec", config, EVALUATION, data) is not None
    shorter = replace(data, train_lengths=np.array([0, 1, 0, 0]))  # ann's first event, of day 0
    assert _start(later, "sasrec", config, EVALUATION, shorter) is None


def test_a_loss_that_breaks_down_stops_with_what_to_do_and_publishes_nothing(tmp_path: Path) -> None:
    settings = {"sasrec": {"learning_rate": 1e30, "precision": "float32"}}
    night = make_night(tmp_path, WEEK, 5, shop_settings("sasrec", training={"settings": settings}))
    with pytest.raises(InputError, match="the training of sasrec broke down") as caught:
        train_model(night, "sasrec")
    assert "is not finite" in str(caught.value)
    assert "set training.settings.sasrec.learning_rate lower" in str(caught.value)
    assert night.current(CHECKPOINTS) == []


def test_a_device_that_is_not_there_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings = {"sasrec": {"device": "cuda"}}
    night = make_night(tmp_path, WEEK, 5, shop_settings("sasrec", training={"settings": settings}))
    with pytest.raises(InputError, match="sasrec cannot be trained where its settings say") as caught:
        train_model(night, "sasrec")
    assert "this machine lacks; it has cpu" in str(caught.value)
    assert 'set training.settings.sasrec.device to "auto"' in str(caught.value)


def test_a_night_killed_while_serving_was_trained_does_not_train_the_evaluation_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = make_night(tmp_path, WEEK, 5, shop_settings("sasrec"))
    monkeypatch.setattr(training, "fit_here", _fit_until(SERVING))
    with pytest.raises(KeyboardInterrupt):
        train_model(night, "sasrec")
    steps: list[str] = []
    monkeypatch.setattr(training, "fit_here", _fit_until("", steps))
    again = train(replace(night, run_id="again"))
    monkeypatch.undo()
    plain = train(make_night(tmp_path / "plain", WEEK, 5, shop_settings("sasrec")))
    assert set(steps) == {SERVING}
    assert checkpoint(again, "sasrec", EVALUATION) == checkpoint(plain, "sasrec", EVALUATION)
    assert checkpoint(again, "sasrec", SERVING) == checkpoint(plain, "sasrec", SERVING)
    assert not (night.store.scratch / "training" / "sasrec").exists()


def _fit_until(killed: str, steps: list[str] | None = None) -> Callable[..., Any]:
    """Fit, but for a chain in which the process is killed; note the chain of every step."""

    def fit(job: Fit, on_step: Callable[[StepRecord], None]) -> Any:
        if job.chain == killed:
            raise KeyboardInterrupt

        def note(record: StepRecord) -> None:
            if steps is not None:
                steps.append(job.chain)
            on_step(record)

        return fit_here(job, note)

    return fit


def test_only_what_learns_by_gradient_is_shared_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "fit_in_processes", lambda *_: pytest.fail("no process shares a count"))
    settings = shop_settings("markov", training={"num_processes": 2})
    train(make_night(tmp_path, WEEK, 5, settings))
