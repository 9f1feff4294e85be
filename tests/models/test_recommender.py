from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.recommender import Capabilities, ModelConfig, Recommender, Validation
from models.sequences import Sequences
from models.stages import Pass, Run, Stage, StepRecord

Make = Callable[..., Sequences]


class EchoConfig(ModelConfig):
    """A factor, to have a setting."""

    factor: int = 1


class Echo(Recommender[EchoConfig]):
    """Learns nothing in two stages, and cannot rank: what is left is the interface."""

    name = "echo"
    label = "Echo"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = EchoConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {"tiny": EchoConfig()}

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        yield Pass("echo", lambda: None)
        yield Pass("repeat", lambda: None)

    def rank(
        self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        raise AssertionError("nothing is ranked before it was checked")

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        assert not state


def fitted_echo(num_items: int = 13) -> Echo:
    model = Echo(EchoConfig(), Catalogue(num_items))
    model.restore({})
    return model


def test_fit_runs_the_stages_in_order_and_permits_ranking(sequences: Make) -> None:
    seen: list[StepRecord] = []
    model = Echo(EchoConfig(factor=3), Catalogue(13))
    report = model.fit(sequences([2, 3]), seed=0, on_step=seen.append)
    assert report.records == tuple(seen)
    assert report.chosen == EchoConfig(factor=3)
    assert [(record.stage, record.step, record.epoch) for record in seen] == [("echo", 1, 1), ("repeat", 1, 1)]
    with pytest.raises(AssertionError, match="checked"):
        model.topk(sequences([3]), 1, np.ones(13, np.bool_))


def test_unfitted_models_do_not_rank(sequences: Make) -> None:
    with pytest.raises(ValueError, match="learnt nothing yet"):
        Echo(EchoConfig(), Catalogue(13)).topk(sequences([2]), 1, np.ones(13, np.bool_))


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


def test_a_model_tells_no_familiarity_unless_it_says_so(sequences: Make) -> None:
    assert fitted_echo().familiarity(sequences([2, 3])) is None
    with pytest.raises(ValueError, match="item number 13 is outside the 13 items"):
        fitted_echo().familiarity(sequences([13]))


def test_training_parts_that_teach_nothing_are_refused(sequences: Make) -> None:
    model = Echo(EchoConfig(), Catalogue(13))
    with pytest.raises(ValueError, match="no known item among 2 training events"):
        model.fit(sequences([1, 1]), seed=0)
    with pytest.raises(ValueError, match="outside the 13 items"):
        model.fit(sequences([2, 20]), seed=0)


def test_models_are_made_from_their_own_configuration() -> None:
    with pytest.raises(ValueError, match="echo takes a EchoConfig, not a ModelConfig"):
        Echo(ModelConfig(), 13)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_items is 2"):
        Echo(EchoConfig(), Catalogue(2))


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
