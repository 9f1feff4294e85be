from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import recommender
from models.recommender import (
    Capabilities,
    FitReport,
    ModelConfig,
    Recommender,
    StepRecord,
    Validation,
    one_pass,
)
from models.sequences import Sequences

Make = Callable[..., Sequences]


class EchoConfig(ModelConfig):
    """A factor, to have a setting."""

    factor: int = 1


class Echo(Recommender[EchoConfig]):
    """Scores item i after a history that ends in j by (i * j) mod 5: every answer can be worked out, with many ties."""

    name = "echo"
    label = "Echo"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = EchoConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {"tiny": EchoConfig()}

    def learn(
        self, train: Sequences, validation: Validation | None, *, seed: int, on_step: Callable[[StepRecord], None]
    ) -> FitReport:
        return one_pass(self.config, 0.5, on_step)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        last = histories.items[histories.offsets[1:] - 1]
        return (np.outer(last, np.arange(self.num_items)) % 5).astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        assert not state


def fitted_echo(num_items: int = 13) -> Echo:
    model = Echo(EchoConfig(), num_items)
    model.restore({})
    return model


def expected_list(history: list[int], k: int, allowed: np.ndarray, exclude_seen: bool) -> list[int]:
    """Rank by hand: a full sort over the items that may be shown."""
    shown = [i for i in range(2, len(allowed)) if allowed[i] and not (exclude_seen and i in history)]
    ranked = sorted(shown, key=lambda i: (-(i * history[-1] % 5), i))[:k]
    return ranked + [0] * (k - len(ranked))


@given(
    histories=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), max_size=9),
    allowed=st.lists(st.booleans(), min_size=13, max_size=13),
    k=st.integers(1, 14),
    exclude_seen=st.booleans(),
    chunk_subjects=st.integers(1, 4),
)
def test_lists_equal_a_full_sort_however_they_are_chunked(
    sequences: Make, histories: list[list[int]], allowed: list[bool], k: int, exclude_seen: bool, chunk_subjects: int
) -> None:
    mask = np.array(allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender, "CHUNK_BYTES", recommender.CELL_BYTES * 13 * chunk_subjects)
        items, scores = fitted_echo().topk(sequences(*histories), k, mask, exclude_seen=exclude_seen)
    assert items.tolist() == [expected_list(history, k, mask, exclude_seen) for history in histories]
    assert (np.isneginf(scores) == (items == 0)).all()
    assert mask.tolist() == allowed


def test_fit_reports_and_permits_ranking(sequences: Make) -> None:
    seen: list[StepRecord] = []
    model = Echo(EchoConfig(factor=3), 13)
    report = model.fit(sequences([2, 3]), seed=0, on_step=seen.append)
    assert report.records == tuple(seen)
    assert report.chosen == EchoConfig(factor=3)
    assert (seen[0].stage, seen[0].step, seen[0].epoch, seen[0].seconds) == ("fit", 1, 1, 0.5)
    assert model.topk(sequences([3]), 1, np.ones(13, np.bool_))[0].tolist() == [[3]]


def test_unfitted_models_do_not_rank(sequences: Make) -> None:
    with pytest.raises(ValueError, match="learnt nothing yet"):
        Echo(EchoConfig(), 13).topk(sequences([2]), 1, np.ones(13, np.bool_))


@pytest.mark.parametrize(
    ("k", "allowed", "item", "message"),
    [
        (0, np.ones(13, np.bool_), 2, "k is 0"),
        (1, np.ones(12, np.bool_), 2, r"bool\(12,\); echo needs bool\(13,\)"),
        (1, np.ones(13, np.int32), 2, "allowed is int32"),
        (1, np.ones(13, np.bool_), 13, "item number 13 is outside the 13 items"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    sequences: Make, k: int, allowed: np.ndarray, item: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fitted_echo().topk(sequences([item]), k, allowed)


def test_training_parts_that_teach_nothing_are_refused(sequences: Make) -> None:
    model = Echo(EchoConfig(), 13)
    with pytest.raises(ValueError, match="no known item among 2 training events"):
        model.fit(sequences([1, 1]), seed=0)
    with pytest.raises(ValueError, match="outside the 13 items"):
        model.fit(sequences([2, 20]), seed=0)


def test_models_are_made_from_their_own_configuration() -> None:
    with pytest.raises(ValueError, match="echo takes a EchoConfig, not a ModelConfig"):
        Echo(ModelConfig(), 13)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_items is 2"):
        Echo(EchoConfig(), 2)


def test_settings_are_frozen_and_unknown_ones_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no setting 'faktor': did you mean 'factor'"):
        EchoConfig(faktor=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="frozen"):
        setattr(EchoConfig(), "factor", 2)  # noqa: B010 - a plain assignment is refused by the type checker already


def test_validation_needs_aligned_cases(sequences: Make) -> None:
    with pytest.raises(AssertionError, match="aligned"):
        Validation(sequences([2]), sequences([2], [3]))
    with pytest.raises(ValueError, match="at least one case"):
        Validation(Sequences.empty(0), Sequences.empty(0))
