import shutil
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sequences import Sequences
from pipelines.contracts import METRICS
from pipelines.evaluation import Cases, build_metrics, session_cases, user_cases
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.statistics_arrays import Uniformity
from pipelines.training import CHECKPOINTS, EVALUATION, SERVING
from pipelines.training_arrays import TrainingData
from tests.pipelines.small_metrics import WHOLE, measured, trained
from tests.pipelines.small_sequences import lists_of, make
from tests.pipelines.small_store import Row, Visit, day, make_night, read, shape, shop_settings, train

EVERY_MODEL = ("popular", "markov", "itemknn", "sasrec")
RANKED = ("hit", "recall", "ndcg", "map", "mrr")
OF_LISTS = ("coverage", "gini", "novelty", "popularity_lift")
Subject = tuple[bool, list[int], list[int], list[int]]  # is it a user, and what it did in train, validation and test


pytestmark = pytest.mark.usefixtures("one_thread")


def in_part(number: int, rows: list[list[int]]) -> Sequences:
    """Events of one part, one second apart; each part lies a day after the one before."""
    return make(*rows, times=[number * 86_400 + position for row in rows for position in range(len(row))])


def data_of(subjects: list[Subject]) -> TrainingData:
    parts = [in_part(number, [subject[number] for subject in subjects]) for number in (1, 2, 3)]  # type: ignore[misc]
    everything = parts[0].concat(parts[1]).concat(parts[2])
    return TrainingData(everything, parts[0].lengths, parts[1].lengths, np.array([one[0] for one in subjects], bool))


def by_turns(num_subjects: int) -> Uniformity:
    """Of three subjects the first comes evenly, the second unevenly, and of the third nothing is known."""
    turns = np.arange(num_subjects) % 3
    return Uniformity(turns == 0, turns == 1)


def items() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(2, 7), max_size=7)


SUBJECTS = st.lists(st.tuples(st.booleans(), items(), items(), items()), max_size=6)


def assert_cases(cases: Cases, expected: list[tuple[list[int], set[int]]]) -> None:
    assert list(zip(lists_of(cases.histories), lists_of(cases.targets), strict=True)) == [
        (history, sorted(targets)) for history, targets in expected
    ]
    assert len(cases) == len(expected)
    assert all(len(mask) == len(expected) for mask in cases.slices.values())


@settings(deadline=None)
@given(SUBJECTS)
def test_user_cases_equal_the_plain_definition(subjects: list[Subject]) -> None:
    cases = user_cases(data_of(subjects), by_turns(len(subjects)))
    asked = [(early + late, set(test)) for is_user, early, late, test in subjects if is_user and test]
    assert_cases(cases, asked)
    assert cases.slices["users"].tolist() == [True] * len(asked)
    assert cases.slices["known_users"].tolist() == [bool(history) for history, _ in asked]
    assert cases.slices["new_users"].tolist() == [not history for history, _ in asked]
    turns = [number % 3 for number, (is_user, _, _, test) in enumerate(subjects) if is_user and test]
    assert cases.slices["users_uniform"].tolist() == [turn == 0 for turn in turns]
    assert cases.slices["users_uneven"].tolist() == [turn == 1 for turn in turns]


@settings(deadline=None)
@given(SUBJECTS)
def test_session_cases_equal_the_plain_definition(subjects: list[Subject]) -> None:
    cases = session_cases(data_of(subjects))
    asked = []
    for is_user, _, _, test in subjects:
        half = (len(test) + 1) // 2
        targets = set(test[half:]) - set(test[:half])
        if not is_user and targets:
            asked.append((test[:half], targets))
    assert_cases(cases, asked)
    assert {name: mask.tolist() for name, mask in cases.slices.items()} == {"anonymous_sessions": [True] * len(asked)}


def test_a_user_is_asked_with_all_before_the_night_and_judged_by_each_item_of_it_once() -> None:
    subjects: list[Subject] = [(True, [5, 2], [3], [4, 5, 4]), (True, [2], [2], []), (True, [], [], [6])]
    cases = user_cases(data_of(subjects), by_turns(3))
    assert_cases(cases, [([5, 2, 3], {4, 5}), ([], {6})])


def test_a_session_is_cut_in_half_and_its_repeats_are_no_targets() -> None:
    sessions: list[Subject] = [
        (False, [], [], [2, 3, 4, 5, 6]),
        (False, [], [], [2, 3, 2, 4]),
        (False, [], [], [2, 2]),
        (False, [], [], [7]),
    ]
    assert_cases(session_cases(data_of(sessions)), [([2, 3, 4], {5, 6}), ([2, 3], {4})])


# A guide shows the whole alphabet; five people walk through it, and on day 3, which is N, take the next step.
LETTERS = "abcdefghijklmnopqrst"
CHAIN = (
    Visit("guide", 0, LETTERS),
    *(
        Visit(f"u{start}", number, LETTERS[2 * start + first : 2 * start + last])
        for start in range(5)
        for number, (first, last) in enumerate([(0, 8), (8, 10), (10, 11), (11, 12)])
    ),
)
SESSION = Visit("?x", 3, "abcd")


def values(rows: dict[str, Row]) -> dict[str, float]:
    return {name: row["value"] for name, row in rows.items()}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Night:
    visits = (*CHAIN, SESSION, Visit("new", 3, "t"), Visit("newer", 3, "l"))
    return trained(tmp_path_factory.mktemp("chain"), visits, 3, *EVERY_MODEL, items=LETTERS)


def test_what_follows_without_fail_is_always_found(chain: Night) -> None:
    slices = measured(chain)["markov"]
    known = values(slices["known_users"])
    assert {name: known[name] for name in known if name.split("@")[0] in RANKED} == {
        f"{metric}@{k}": 1.0 for metric in RANKED for k in (5, 10, 20)
    }
    session = values(slices["anonymous_sessions"])  # a and b ask for c and d: c follows b, d is not reached
    assert (session["hit@5"], session["mrr@5"], session["map@5"]) == (1.0, 1.0, 0.5)
    assert session["ndcg@5"] == pytest.approx(1 / (1 + 1 / log2(3)))


def test_a_user_is_asked_with_what_came_after_the_model_was_trained(tmp_path: Path) -> None:
    """Without the step of N-1 the walk goes on one letter too early, and nothing leads to the letter of N."""
    visits = (*(visit for visit in CHAIN if visit.day != 2), Visit("else", 2, "t"))
    known = values(measured(trained(tmp_path, visits, 3, "markov"))["markov"]["known_users"])
    assert known["hit@5"] == 0.0


def test_slices_count_their_cases(chain: Night) -> None:
    """The five known users have the same gaps, the guide one alone: the first two of them are still among the 40 %."""
    for slices in measured(chain).values():
        counts = {name: {row["num_cases"] for row in rows.values()} for name, rows in slices.items()}
        assert counts == {
            "users": {7}, "known_users": {5}, "new_users": {2}, "anonymous_sessions": {1},
            "users_target_1_10": {7}, "users_history_6_20": {5}, "users_uniform": {2}, "users_uneven": {3},
            "anonymous_sessions_target_1_10": {1}, "anonymous_sessions_history_1_5": {1},
        }  # fmt: skip


def test_all_users_are_the_known_and_the_new_together(chain: Night) -> None:
    for slices in measured(chain).values():
        for name, row in slices["users"].items():
            if name.split("@")[0] in (*RANKED, "novelty"):
                known, new = slices["known_users"][name]["value"], slices["new_users"][name]["value"]
                assert row["value"] == pytest.approx((5 * known + 2 * new) / 7)


def test_new_users_are_judged_by_the_fallback_whatever_the_model(chain: Night) -> None:
    by_model = measured(chain)
    new = [values(by_model[name]["new_users"]) for name in EVERY_MODEL]
    assert new[1:] == new[:-1]
    assert values(by_model["markov"]["known_users"]) != values(by_model["popular"]["known_users"])


def test_the_fallback_has_not_seen_the_last_two_nights(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "aab"), Visit("ann", 1, "cccc"), Visit("ann", 2, "cccc"), Visit("new", 2, "c"))
    rows = measured(trained(tmp_path, visits, 2, "markov"))["markov"]["new_users"]
    assert rows["mrr@5"]["value"] == pytest.approx(1 / 3)  # behind a and b


def test_every_metric_stands_once_at_every_cutoff_with_its_interval_around_it(chain: Night) -> None:
    (write,) = build_metrics(chain)
    assert shape(chain, write).equals(METRICS.schema)
    rows = read(chain, write)
    keys = [tuple(row[name] for name in METRICS.key) for row in rows]
    assert len(set(keys)) == len(keys)
    for name, slices in measured(chain).items():
        for slice_, found in slices.items():
            # Nobody without a history was lifted over it, and the items of this shop have no category.
            of_lists = OF_LISTS[:-1] if slice_ == "new_users" else OF_LISTS
            assert set(found) == {f"{metric}@{k}" for metric in (*RANKED, *of_lists) for k in (5, 10, 20)}, name
    assert {(row["as_of_date"], row["protocol"]) for row in rows} == {(chain.day, "next_night")}
    for row in rows:
        if row["metric"].split("@")[0] in RANKED:
            assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
        else:
            assert row["low"] is row["high"] is None
    assert any(row["low"] < row["value"] < row["high"] for row in rows if row["low"] is not None)


def test_each_model_has_its_own_part(chain: Night) -> None:
    (write,) = build_metrics(chain)
    assert [part.slice for part in write.parts] == list(EVERY_MODEL)
    for part in write.parts:
        assert {row["model"] for row in read(chain, replace(write, parts=(part,)))} == {part.slice}


def test_the_metrics_of_a_night_can_be_repeated(chain: Night) -> None:
    (first,), (second,) = build_metrics(chain), build_metrics(chain)
    assert [part.sha256 for part in first.parts] == [part.sha256 for part in second.parts]


# Train (days 0 and 1): a 7 times, b 3, c once; d, e and f never. All lists of `popular` are therefore abcdef.
COUNTED = (
    Visit("ann", 0, "aaaab"),
    Visit("bob", 1, "aabbca"),
    Visit("ann", 2, "f"),
    Visit("ann", 3, "bxe"),
    Visit("bob", 3, "ba"),
    Visit("new", 3, "cdca"),
    Visit("?x", 3, "dbef"),
)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Row]]:
    """Metrics of `popular`; x is no longer listed."""
    night = trained(tmp_path_factory.mktemp("counted"), COUNTED, 3, "popular", items="abcdefx", unlisted="x")
    return measured(night)["popular"]


def test_metrics_of_known_users_are_those_counted_by_hand(counted: dict[str, dict[str, Row]]) -> None:
    found = values(counted["known_users"])
    # ann wants b, e and x: ranks 2, 5 and none. bob wants a and b: ranks 1 and 2.
    ideal_2, ideal_3 = 1 + 1 / log2(3), 1 + 1 / log2(3) + 1 / 2
    for k in (5, 10, 20):
        assert found[f"hit@{k}"] == 1.0
        assert found[f"recall@{k}"] == pytest.approx((2 / 3 + 1) / 2)
        assert found[f"mrr@{k}"] == pytest.approx((1 / 2 + 1) / 2)
        assert found[f"map@{k}"] == pytest.approx(((1 / 2 + 2 / 5) / 3 + 1) / 2)
        assert found[f"ndcg@{k}"] == pytest.approx(((1 / log2(3) + 1 / log2(6)) / ideal_3 + ideal_2 / ideal_2) / 2)


def test_metrics_of_new_users_are_those_counted_by_hand(counted: dict[str, dict[str, Row]]) -> None:
    found = values(counted["new_users"])  # new wants a, c and d: ranks 1, 3 and 4
    assert (found["hit@5"], found["recall@5"], found["mrr@5"]) == (1.0, 1.0, 1.0)
    assert found["map@5"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found["ndcg@5"] == pytest.approx((1 + 1 / log2(4) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4)))


def test_metrics_of_anonymous_sessions_are_those_counted_by_hand(counted: dict[str, dict[str, Row]]) -> None:
    found = values(counted["anonymous_sessions"])  # after d and b it wants e and f: ranks 5 and 6
    assert (found["hit@5"], found["recall@5"], found["mrr@5"]) == (1.0, 0.5, 0.2)
    assert (found["recall@10"], found["map@5"]) == (1.0, pytest.approx(1 / 5 / 2))
    assert found["map@10"] == pytest.approx((1 / 5 + 2 / 6) / 2)


def test_coverage_is_the_share_of_listed_items_that_are_shown(counted: dict[str, dict[str, Row]]) -> None:
    for rows in counted.values():
        assert rows["coverage@5"]["value"] == pytest.approx(5 / 6)
        assert rows["coverage@10"]["value"] == 1.0


def test_novelty_is_the_mean_surprise_in_bits(tmp_path: Path) -> None:
    # 11 train events over 5 items, with add-one: shares 8/16, 4/16, 2/16, 1/16 and 1/16.
    visits = tuple(visit for visit in COUNTED if visit.day < 2)
    night = trained(tmp_path, (*visits, Visit("ann", 2, "b"), Visit("bob", 3, "a")), 3, "popular", items="abcde")
    for rows in measured(night)["popular"].values():
        assert rows["novelty@5"]["value"] == pytest.approx((1 + 2 + 3 + 4 + 4) / 5)
        assert rows["novelty@20"]["value"] == rows["novelty@5"]["value"]


def test_slices_tell_rare_targets_and_short_histories_apart(counted: dict[str, dict[str, Row]]) -> None:
    """Of several targets the rarest decides: ann's e, new's d and the session's e and f nobody had chosen before."""
    cases = {name: int(rows["hit@5"]["num_cases"]) for name, rows in counted.items() if name not in WHOLE}
    assert cases == {
        "users_target_0": 2, "users_target_1_10": 1, "users_history_6_20": 2, "users_uniform": 1, "users_uneven": 1,
        "anonymous_sessions_target_0": 1, "anonymous_sessions_history_1_5": 1,
    }  # fmt: skip
    assert counted["users_target_1_10"]["mrr@5"]["value"] == 1.0  # bob wants b and a


def test_list_metrics_are_those_counted_by_hand(tmp_path: Path) -> None:
    # Everyone is shown a (7 events), b (3) and c (1), in this order.
    categories = {"a": "x>y", "b": "x>y", "c": "x>z"}
    visits = (*(visit for visit in COUNTED if visit.day < 2), Visit("ann", 2, "b"), Visit("bob", 3, "c"))
    night = trained(tmp_path, visits, 3, "popular", items="abc", categories=categories)
    found = values(measured(night)["popular"]["known_users"])
    assert found["diversity@5"] == pytest.approx(2 / 3)  # a is of the kind of b, c of another
    assert found["gini@5"] == 0.0
    assert found["popularity_lift@5"] == pytest.approx(0.0)  # bob had a, b and c, which are the three of the list


def test_categories_are_told_apart_by_the_first_of_their_path(tmp_path: Path) -> None:
    categories = {"a": "x>y", "b": "o'z\"; drop>y", "c": "x>z"}
    visits = (Visit("ann", 0, "aab"), Visit("bob", 1, "c"), Visit("ann", 3, "bc"), Visit("bob", 3, "a"))
    night = trained(tmp_path, visits, 3, "popular", items="abc", categories=categories)
    found = {name: rows for name, rows in measured(night)["popular"].items() if "category" in name}
    assert {name: int(rows["hit@5"]["num_cases"]) for name, rows in found.items()} == {
        "users_category_x": 2, "users_category_o'z\"; drop": 1,
    }  # fmt: skip


def test_the_popularity_lift_is_over_the_histories_of_the_slice(counted: dict[str, dict[str, Row]]) -> None:
    found = values(counted["anonymous_sessions"])  # shown a to e (7, 3, 1, 0, 0) or a to f, after d (0) and b (3)
    assert found["popularity_lift@5"] == pytest.approx((11 / 5) / (3 / 2) - 1)
    assert found["popularity_lift@10"] == pytest.approx((11 / 6) / (3 / 2) - 1)


def test_novelty_is_that_of_the_lists_of_its_slice(chain: Night) -> None:
    """Who has no history is shown what is popular, the least novel there is."""
    slices = measured(chain)["markov"]
    assert slices["known_users"]["novelty@5"]["value"] > slices["new_users"]["novelty@5"]["value"]


def test_a_slice_without_a_case_has_no_rows(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("ann", 1, "b"), Visit("ann", 2, "a"), Visit("?x", 2, "a"))
    assert set(measured(trained(tmp_path, visits, 2, "popular"))["popular"]) == {
        "users", "known_users", "users_target_1_10", "users_history_1_5",
    }  # fmt: skip


def test_the_night_is_the_last_day_with_events(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("ann", 3, "b"), Visit("ann", 5, "a"))
    rows = measured(trained(tmp_path, visits, 8, "popular"))["popular"]["known_users"]
    assert rows["hit@5"]["num_cases"] == 1
    assert rows["hit@5"]["as_of_date"] == day(8)


def test_excluded_seen_items_are_no_hits(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("bob", 0, "cd"), Visit("ann", 1, "a"), Visit("ann", 2, "bc"))
    shown = train(make_night(tmp_path / "shown", visits, 2, shop_settings("popular")))
    hidden = train(make_night(tmp_path / "hidden", visits, 2, shop_settings("popular", exclude_seen=True)))
    assert measured(shown)["popular"]["users"]["mrr@5"]["value"] == 0.5  # a, then b
    # c and d go first, the seen a and b come back behind them
    assert measured(hidden)["popular"]["users"]["mrr@5"]["value"] == 1.0


def test_an_unlisted_target_is_missed_and_still_counts(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("ann", 1, "a"), Visit("ann", 2, "ab"))
    rows = measured(trained(tmp_path, visits, 2, "popular", unlisted="a"))["popular"]["users"]
    assert (rows["recall@5"]["value"], rows["mrr@5"]["value"]) == (0.5, 1.0)


@pytest.mark.parametrize(("catalogue", "found"), [(None, 0.0), ({"path": "{day}.csv", "format": "csv"}, 1.0)])
def test_without_a_catalogue_nobody_could_list_what_the_night_itself_brought(
    tmp_path: Path, catalogue: dict[str, Any] | None, found: float
) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("ann", 1, "a"), Visit("ann", 2, "z"))
    if catalogue:
        catalogue = catalogue | {"columns": {"id": "id"}}
    settings = Settings.model_validate(shop_settings("popular").model_dump() | {"catalogue": catalogue})
    night = train(make_night(tmp_path, visits, 2, settings, new="z"))
    assert measured(night)["popular"]["users"]["recall@5"]["value"] == found


@pytest.mark.parametrize("num_days", [1, 2])
def test_with_fewer_than_three_days_with_events_the_metrics_are_empty(tmp_path: Path, num_days: int) -> None:
    visits = tuple(Visit("ann", number, "abc") for number in range(num_days))
    night = trained(tmp_path, visits, 4, "popular", "markov")
    (write,) = build_metrics(night)
    assert [(part.slice, part.num_rows) for part in write.parts] == [("popular", 0), ("markov", 0)]
    assert shape(night, write).equals(METRICS.schema)


def test_a_model_that_had_nothing_to_learn_has_no_metrics_beside_the_others(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "a"), Visit("bob", 0, "b"), Visit("ann", 1, "b"), Visit("ann", 2, "abc"))
    (write,) = build_metrics(trained(tmp_path, visits, 2, "popular", "sasrec"))
    assert [part.num_rows > 0 for part in write.parts] == [True, False]


def test_a_checkpoint_that_has_seen_the_last_two_nights_is_refused(tmp_path: Path) -> None:
    night = trained(tmp_path, CHAIN, 3, "popular")
    (part,) = night.current(CHECKPOINTS)
    folder = night.store.work / part.path
    shutil.rmtree(folder / EVALUATION)
    shutil.copytree(folder / SERVING, folder / EVALUATION)
    with pytest.raises(ValueError, match=f"has seen events up to {day(3)}, but only days up to {day(1)}"):
        build_metrics(night)


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_events_of_the_night_change_no_list_of_a_user_who_did_the_same(chain: Night, tmp_path: Path, name: str) -> None:
    """Whoever else comes that night: no list learns from the night by which it is judged."""
    visits = (*CHAIN, *(Visit(f"crowd{number}", 3, "tsrqa") for number in range(20)))
    crowded = trained(tmp_path, visits, 3, name, items=LETTERS)
    found, expected = (measured(night)[name]["known_users"] for night in (crowded, chain))
    assert found == expected
