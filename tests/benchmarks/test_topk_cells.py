import numpy as np
import pytest
import torch

from benchmarks.data_process import Limits, run_fresh
from benchmarks.topk_cells import Question, TopkJob, measure
from models import top_products

TINY = TopkJob(num_users=30, num_items=400, dim=8, k=5, num_runs=2, num_threads=torch.get_num_threads())


@pytest.fixture(autouse=True)
def _blocks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_products, "BLOCK_USERS", top_products.BLOCK_USERS)
    monkeypatch.setattr(top_products, "BLOCK_ITEMS", top_products.BLOCK_ITEMS)


def test_half_the_items_are_allowed_and_every_user_has_its_barred_ones() -> None:
    question = Question.draw(TINY.model_copy(update={"share_allowed": 0.5, "num_barred": 3}))
    assert question.allowed[2:].sum() == 200
    assert (question.barred.lengths == 3).all()
    items, _ = question.exact(5)
    assert question.allowed[items].all()
    assert not (items[question.barred.rows] == question.barred.items[:, None]).any()


def test_lists_are_the_same_for_other_blocks_and_other_for_other_requests() -> None:
    reports = [measure(TINY.model_copy(update=more)) for more in ({}, {"block_users": 7, "block_items": 33}, {"k": 4})]
    assert reports[0].digest == reports[1].digest != reports[2].digest
    assert all(len(report.seconds) == 2 and report.extra_mib >= 0 for report in reports)


def test_the_bare_product_takes_the_memory_of_its_result_once() -> None:
    shape = {"num_users": 1000, "num_items": 20_000}
    mib = 1000 * 20_000 * 4 / 2**20
    for engine in ("product_fresh", "product_reused"):
        # A process of its own: what earlier tests have freed would be taken again, and not be seen.
        job = TINY.model_copy(update={**shape, "engine": engine})
        ended = run_fresh("benchmarks.topk_cells", job.model_dump(mode="json"), Limits(120, 20_000), {})
        assert ended.status == "done", ended.message
        assert ended.report["extra_mib"] == pytest.approx(mib, rel=0.25)


def test_an_engine_that_ranks_all_items_refuses_other_requests() -> None:
    with pytest.raises(ValueError, match="product_fresh ranks all items"):
        measure(TINY.model_copy(update={"engine": "product_fresh", "num_barred": 1}))


def test_vectors_are_those_of_the_seed() -> None:
    one, same, other = (Question.draw(TINY.model_copy(update={"seed": seed})).users_BD for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
