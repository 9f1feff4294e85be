from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.catalogue import Catalogue
from models.checkpoint import HEADER_FILE, WEIGHTS_FILE
from models.popular import Popular, PopularConfig
from models.recommender import FitReport, ModelConfig, Recommender, Validation
from models.sequences import Sequences
from models.statistics import Statistics
from pipelines.contracts import TRAINING_RUNS
from pipelines.errors import InputError
from pipelines.night import Night
from pipelines.store import Write
from pipelines.training import CHECKPOINTS, EVALUATION, SERVING, load_model, train_model
from pipelines.training_data import load_vocabulary
from tests.pipelines.small_sequences import lists_of
from tests.pipelines.small_store import Row, Visit, day, make_night, read, shape, shop_settings, train
from tests.pipelines.small_training import WEEK, checkpoint, folder_of

WITHOUT_EARLY_STOPPING = ("popular", "markov", "itemknn")
EVERY_MODEL = (*WITHOUT_EARLY_STOPPING, "sasrec")

SWAPPED = str.maketrans("abcd", "fdbe")
ON_N_MINUS_1 = (Visit("ann", 3, "fffe", hour=15), Visit("new", 3, "fedc"), Visit("?y", 3, "fa"))
ON_N = (Visit("ann", 5, "fffe", hour=15), Visit("newer", 5, "fedc"), Visit("?z", 5, "fa"))


pytestmark = pytest.mark.usefixtures("one_thread")


def runs(night: Night, name: str) -> list[Row]:
    parts = tuple(part for part in night.current("training_runs") if part.slice == name)
    return read(night, Write("training_runs", parts))


def trained(root: Path, visits: tuple[Visit, ...], last: int, *models: str, zone: str = "UTC") -> Night:
    return train(make_night(root, visits, last, shop_settings(*models, zone=zone), items="abcdef"))


class Recorder(Popular):
    """Remembers with what each fit was called; its first fit chooses a configuration of its own."""

    calls: list[tuple[PopularConfig, Sequences, Validation | None, int]]
    CHOSEN = PopularConfig(window_days=17)

    def fit(self, train: Sequences, validation: Validation | None = None, *, seed: int, **how: Any) -> FitReport:
        self.calls.append((self.config, train, validation, seed))
        return replace(super().fit(train, validation, seed=seed, **how), chosen=self.CHOSEN)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    def build(name: str, config: str | ModelConfig, catalogue: Catalogue) -> Recommender:
        assert name == "popular"
        return Recorder(config if isinstance(config, PopularConfig) else PopularConfig(), catalogue)

    monkeypatch.setattr(Recorder, "calls", [], raising=False)
    monkeypatch.setattr("models.registry.build", build)
    return Recorder


class Statistician(Popular):
    """Remembers the part on which each fit was called, with its statistics."""

    capabilities = replace(Popular.capabilities, uses_statistics=True)
    calls: list[tuple[Sequences, Statistics]]

    def fit(self, train: Sequences, *args: Any, statistics: Statistics | None = None, **how: Any) -> FitReport:
        assert statistics is not None
        self.calls.append((train, statistics))
        return super().fit(train, *args, statistics=statistics, **how)


@pytest.fixture
def statistician(monkeypatch: pytest.MonkeyPatch) -> type[Statistician]:
    monkeypatch.setattr(Statistician, "calls", [], raising=False)
    for module in ("models.registry", "pipelines.training"):
        monkeypatch.setattr(f"{module}.model_class", lambda name: {"popular": Statistician}[name])
    return Statistician


def test_each_chain_gets_the_statistics_of_its_own_subjects_as_of_its_own_last_day(
    tmp_path: Path, statistician: type[Statistician]
) -> None:
    trained(tmp_path, (*WEEK, Visit("abe", 5, "f")), 5, "popular")  # abe is the first user, and was not there on day 2
    (early, known), (everything, all_known) = statistician.calls
    assert (known.as_of, all_known.as_of) == (day(2), day(5))
    # x comes without a user id; then ann, bob and cy. Up to day 2 the visits of ann lie the furthest apart, two days.
    assert (len(early), known.is_uniform.tolist()) == (4, [False, False, True, True])
    assert known.is_uneven.tolist() == [False, True, False, False]
    # Up to day 5 bob's do, four days; abe came once.
    assert (len(everything), all_known.is_uniform.tolist()) == (5, [False, False, True, False, True])
    assert all_known.is_uneven.tolist() == [False, False, False, True, False]
    # a to f are 2 to 7: c has 4 events up to day 2, and of those with 3 b comes first.
    assert np.flatnonzero(known.is_frequent).tolist() == [3, 4]


@pytest.mark.parametrize("num_days", [1, 2])
def test_without_a_day_before_the_last_two_a_model_of_statistics_is_not_evaluated(
    tmp_path: Path, statistician: type[Statistician], num_days: int
) -> None:
    visits = tuple(Visit("ann", number, "abc") for number in range(num_days))
    night = trained(tmp_path, visits, 5, "popular")
    assert [statistics.as_of for _, statistics in statistician.calls] == [day(5)]
    assert not folder_of(night, "popular", EVALUATION).exists()


def test_evaluation_learns_to_n_minus_2_and_serving_learns_everything(tmp_path: Path, recorder: type[Recorder]) -> None:
    night = trained(tmp_path, (*WEEK, Visit("newer", 5, "f")), 5, "popular")
    (_, early, validation, seed), (_, everything, none, same_seed) = recorder.calls
    # Numbers: a is 2, f is 7. Subjects: the session x, then ann, bob, cy, newer; who has no event yet is left out.
    assert lists_of(early) == [[2, 3, 4], [2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7], [4, 5, 6, 7]]
    assert lists_of(everything) == [
        [2, 3, 4],
        [2, 3, 4, 5, 6, 7, 2, 3, 4, 5],
        [3, 4, 5, 6, 7, 2, 3],
        [4, 5, 6, 7, 2, 3, 4],
        [7],
    ]
    assert validation is not None
    assert none is None
    assert seed == same_seed == night.settings.training.seed


def test_validation_cases_are_the_subjects_of_n_minus_1_who_were_known_before(
    tmp_path: Path, recorder: type[Recorder]
) -> None:
    trained(tmp_path, (*WEEK, *ON_N_MINUS_1, *ON_N), 5, "popular")
    validation = recorder.calls[0][2]
    assert validation is not None
    assert lists_of(validation.histories) == [[2, 3, 4, 5, 6, 7], [4, 5, 6, 7]]  # ann and cy; new and ?y are unknown
    assert lists_of(validation.targets) == [[2, 3, 6, 7], [2, 3, 4]]  # each item once
    assert not validation.exclude_seen


def test_validation_hides_seen_items_where_the_lists_do(tmp_path: Path, recorder: type[Recorder]) -> None:
    train(make_night(tmp_path, WEEK, 5, shop_settings(exclude_seen=True)))
    validation = recorder.calls[0][2]
    assert validation is not None
    assert validation.exclude_seen


def test_without_a_known_subject_on_n_minus_1_nothing_is_selected(tmp_path: Path, recorder: type[Recorder]) -> None:
    trained(tmp_path, (Visit("ann", 0, "ab"), Visit("bob", 1, "ab"), Visit("ann", 2, "b")), 2, "popular")
    assert [call[2] for call in recorder.calls] == [None, None]


def test_serving_is_refitted_with_what_the_evaluation_chose(tmp_path: Path, recorder: type[Recorder]) -> None:
    night = trained(tmp_path, WEEK, 5, "popular")
    assert [call[0] for call in recorder.calls] == [Popular.presets["tiny"], Recorder.CHOSEN]
    assert checkpoint(night, "popular", SERVING)[1].config == Recorder.CHOSEN.model_dump()


def test_a_checkpoint_says_the_last_day_whose_events_it_has_seen(tmp_path: Path) -> None:
    night = trained(tmp_path, WEEK, 6, "popular")  # nothing happened on the night itself either
    assert checkpoint(night, "popular", EVALUATION)[1].as_of == day(2)
    assert checkpoint(night, "popular", SERVING)[1].as_of == day(5)


def test_days_are_those_of_the_zone_of_the_nights(tmp_path: Path) -> None:
    evening = [Visit("ann", number, "ab", hour=20) for number in (0, 1, 2)]  # the next morning in Tokyo
    night = trained(tmp_path, tuple(evening), 3, "popular", zone="Asia/Tokyo")
    assert checkpoint(night, "popular", EVALUATION)[1].as_of == day(1)
    assert checkpoint(night, "popular", SERVING)[1].as_of == day(3)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return trained(tmp_path_factory.mktemp("plain"), WEEK, 5, *EVERY_MODEL)


@pytest.mark.parametrize(
    "visits",
    [
        (*WEEK, *ON_N_MINUS_1, *ON_N),
        tuple(replace(visit, items=visit.items.translate(SWAPPED)) if visit.day >= 3 else visit for visit in WEEK),
        (*WEEK[:6], Visit("new", 3, "f"), Visit("newer", 5, "f")),
        (*WEEK, *(Visit("bob", 5, "fed" * 100, hour=hour) for hour in range(1, 23, 4))),
    ],
    ids=["more events", "other events", "other people", "a thousand events"],
)
def test_nights_n_minus_1_and_n_leave_no_trace_in_the_evaluation_of_a_model_without_early_stopping(
    plain: Night, tmp_path: Path, visits: tuple[Visit, ...]
) -> None:
    changed = trained(tmp_path, visits, 5, *WITHOUT_EARLY_STOPPING)
    for name in WITHOUT_EARLY_STOPPING:
        assert checkpoint(changed, name, EVALUATION) == checkpoint(plain, name, EVALUATION)
        assert checkpoint(changed, name, SERVING)[0] != checkpoint(plain, name, SERVING)[0]


@pytest.mark.parametrize("busy", ["ann", "bob", "cy"])
def test_a_busy_night_does_not_push_the_train_part_over_the_cap_of_a_subject(tmp_path: Path, busy: str) -> None:
    settings = shop_settings("popular", training={"max_events": 4})
    plain = train(make_night(tmp_path / "plain", WEEK, 5, settings, items="abcdef"))
    robot = train(make_night(tmp_path / "robot", (*WEEK, Visit(busy, 5, "fedfed", hour=20)), 5, settings))
    assert checkpoint(robot, "popular", EVALUATION) == checkpoint(plain, "popular", EVALUATION)


def test_night_n_leaves_no_trace_in_the_evaluation_of_a_model_with_early_stopping(plain: Night, tmp_path: Path) -> None:
    changed = trained(tmp_path, (*WEEK, *ON_N), 5, "sasrec")
    assert checkpoint(changed, "sasrec", EVALUATION) == checkpoint(plain, "sasrec", EVALUATION)
    assert checkpoint(changed, "sasrec", SERVING)[0] != checkpoint(plain, "sasrec", SERVING)[0]


def test_a_model_with_early_stopping_serves_after_as_many_epochs_as_were_best_on_n_minus_1(
    plain: Night,
) -> None:
    rows = runs(plain, "sasrec")
    evaluation = [row for row in rows if row["chain"] == EVALUATION]
    serving = [row for row in rows if row["chain"] == SERVING]
    measured = [row["validation_metric"] for row in evaluation]
    assert None not in measured
    assert [row["validation_metric"] for row in serving] == [None] * len(serving)
    best = evaluation[int(np.argmax(measured))]["epoch"]
    assert max(row["epoch"] for row in serving) == best
    assert checkpoint(plain, "sasrec", SERVING)[1].config["num_epochs"] == best


def test_the_same_night_trained_twice_gives_equal_checkpoints(plain: Night, tmp_path: Path) -> None:
    again = trained(tmp_path, WEEK, 5, *EVERY_MODEL)
    for name in EVERY_MODEL:
        for chain in (EVALUATION, SERVING):
            assert checkpoint(again, name, chain) == checkpoint(plain, name, chain)
    hashes = [[part.sha256 for part in night.current(CHECKPOINTS)] for night in (again, plain)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == len(EVERY_MODEL)


def test_another_seed_gives_another_network(plain: Night, tmp_path: Path) -> None:
    settings = shop_settings("sasrec", training={"seed": 8})
    other = train(make_night(tmp_path, WEEK, 5, settings))
    assert checkpoint(other, "sasrec", SERVING)[0] != checkpoint(plain, "sasrec", SERVING)[0]


def test_training_runs_tell_each_chain_with_the_hash_of_its_checkpoint(tmp_path: Path) -> None:
    night = make_night(tmp_path, WEEK, 5, shop_settings("markov"))
    writes = train_model(night, "markov")
    (told,) = (write for write in writes if write.table == "training_runs")
    assert shape(night, told).equals(TRAINING_RUNS.schema)
    assert night.current(CHECKPOINTS) == []  # nothing is visible before it is published
    night.store.publish(writes)
    rows = runs(night, "markov")
    assert [row["chain"] for row in rows] == [EVALUATION, SERVING]
    hashes = [checkpoint(night, "markov", chain)[1].checkpoint_hash for chain in (EVALUATION, SERVING)]
    assert [row["checkpoint_hash"] for row in rows] == hashes
    # Both chains are one part: it is another one if either of them is.
    assert [part.sha256 for part in night.current(CHECKPOINTS)] == ["-".join(reversed(hashes))]
    assert {(row["as_of_date"], row["model"], row["stage"], row["step"], row["epoch"]) for row in rows} == {
        (day(5), "markov", "fit", 1, 1)
    }
    assert {(row["loss"], row["validation_metric"]) for row in rows} == {(None, None)}


def test_training_a_model_again_replaces_its_own_parts_only(tmp_path: Path) -> None:
    night = trained(tmp_path, WEEK, 5, "popular", "markov")
    again = replace(night, settings=shop_settings("popular", "markov", training={"window_days": 3}), run_id="second")
    again.store.publish(train_model(again, "popular"))
    for table in (CHECKPOINTS, "training_runs"):
        assert [part.slice for part in again.current(table)] == ["markov", "popular"]
        assert [part.path.split("/")[1] for part in again.current(table)] == ["run", "second"]


def test_training_that_gives_the_same_model_leaves_its_checkpoint_where_it_is(tmp_path: Path) -> None:
    night = trained(tmp_path, WEEK, 5, "popular")
    before = night.current(CHECKPOINTS)
    again = replace(night, run_id="second")
    again.store.publish(train_model(again, "popular"))
    assert again.current(CHECKPOINTS) == before


@pytest.mark.parametrize("num_days", [1, 2])
def test_with_fewer_than_three_days_with_events_there_is_no_evaluation_chain(tmp_path: Path, num_days: int) -> None:
    visits = tuple(Visit(who, number * 3, "abc") for who in ("ann", "bob") for number in range(num_days))
    night = trained(tmp_path, visits, 5, *EVERY_MODEL)
    for name in EVERY_MODEL:
        assert not folder_of(night, name, EVALUATION).exists()
        assert {row["chain"] for row in runs(night, name)} == {SERVING}
        assert checkpoint(night, name, SERVING)[1].as_of == day(3 * num_days - 3)


def test_what_a_model_cannot_learn_from_leaves_out_its_evaluation_alone(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "a"), Visit("bob", 0, "b"), Visit("ann", 1, "b"), Visit("ann", 2, "abc"))
    night = trained(tmp_path, visits, 2, "popular", "sasrec")  # nobody has two events on day 0
    assert folder_of(night, "popular", EVALUATION).exists()
    assert not folder_of(night, "sasrec", EVALUATION).exists()
    assert checkpoint(night, "sasrec", SERVING)[1].as_of == day(2)


@pytest.mark.parametrize("name", EVERY_MODEL)
@pytest.mark.parametrize(
    "visits",
    [(Visit("ann", 0, "abc", kind="look"), Visit("ann", 1, "abc", kind="look")), ()],
    ids=["no event that teaches", "no event"],
)
def test_nothing_to_learn_is_told_with_what_to_do(tmp_path: Path, name: str, visits: tuple[Visit, ...]) -> None:
    night = make_night(tmp_path, visits, 1, shop_settings(name), items="abc" if visits else "")
    with pytest.raises(InputError, match=rf"nothing to train {name} on(.|\n)*{day(1)}(.|\n)*check event_types"):
        train_model(night, name)


def test_a_sequence_model_without_a_sequence_is_told_like_nothing_to_learn(tmp_path: Path) -> None:
    night = make_night(tmp_path, [Visit("ann", 0, "a"), Visit("bob", 1, "b")], 1, shop_settings("sasrec"))
    with pytest.raises(InputError, match=r"nothing to train sasrec on(.|\n)*no training history has two known items"):
        train_model(night, "sasrec")


def test_a_catalogue_of_ids_alone_is_told_with_what_to_map(tmp_path: Path) -> None:
    night = make_night(tmp_path, WEEK, 5, shop_settings("m2trec"))
    with pytest.raises(InputError, match="m2trec cannot be trained on this catalogue") as caught:
        train_model(night, "m2trec")
    assert "no field of it tells them apart" in str(caught.value)
    assert "map more columns in catalogue.columns" in str(caught.value)
    assert "set training.settings.m2trec.hashed_ids = true" in str(caught.value)


@pytest.mark.parametrize(("chain", "newest"), [(EVALUATION, day(2)), (SERVING, day(5))], ids=["evaluation", "serving"])
def test_a_model_that_has_seen_a_later_day_is_refused(plain: Night, chain: str, newest: date) -> None:
    vocabulary = load_vocabulary(plain)
    model = load_model(plain, "markov", chain, vocabulary, newest)
    assert model is not None
    assert model.name == "markov"
    too_early = date.fromordinal(newest.toordinal() - 1)
    with pytest.raises(ValueError, match=f"has seen events up to {newest}, but only days up to {too_early}"):
        load_model(plain, "markov", chain, vocabulary, too_early)


def test_a_model_of_another_vocabulary_is_refused(plain: Night) -> None:
    vocabulary = replace(load_vocabulary(plain), content_hash="another")
    with pytest.raises(ValueError, match="not another"):
        load_model(plain, "markov", SERVING, vocabulary, day(5))


def test_a_chain_that_was_not_trained_loads_as_nothing(tmp_path: Path) -> None:
    night = trained(tmp_path, (Visit("ann", 0, "ab"),), 0, "popular")
    assert load_model(night, "popular", EVALUATION, load_vocabulary(night), day(0)) is None


def test_a_checkpoint_is_weights_and_header_and_nothing_else(plain: Night) -> None:
    found = {path.name for path in folder_of(plain, "sasrec", SERVING).iterdir()}
    assert found == {WEIGHTS_FILE, HEADER_FILE}
