"""What runs in the fresh process of one measurement of exact top-k, or of what it is compared with.

    python -m benchmarks.topk_cells JOB

JOB is the JSON of a ``TopkJob``; the report goes to the file that it names. Imports, drawing the vectors, and the
compilation of inner loops are no part of a cost.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from assets.measurement import Measurement
from models import top_products
from models.sequences import FIRST_ITEM, Sequences

Floats = NDArray[np.float32]
Engine = Literal["top_products", "product_fresh", "product_reused", "faiss_flat", "faiss_ivf", "faiss_hnsw"]


class TopkJob(BaseModel):
    """One measurement. Vectors are drawn from the standard normal distribution.

    share_allowed: of the items, drawn. num_barred: items drawn for each user, which are not shown to it. breadth: how
    many cells (faiss_ivf) or candidates (faiss_hnsw) are looked at for a user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine = "top_products"
    num_users: int = 10_000
    num_items: int = 100_000
    dim: int = 64
    k: int = 20
    share_allowed: float = 1.0
    num_barred: int = 0
    block_users: int = top_products.BLOCK_USERS
    block_items: int = top_products.BLOCK_ITEMS
    num_threads: int = 2
    breadth: int = 0
    num_runs: int = 5
    seed: int = 0
    report: Path = Path()


class TopkReport(BaseModel):
    """Seconds of each run on the wall; by how much the first, which makes a result, raised resident memory.

    digest: of items and scores. recall: the share of the exact lists' items that stand in the lists, 1 if exact.
    build_s: making of an index.
    """

    seconds: list[float]
    extra_mib: float
    digest: str = ""
    recall: float = 1.0
    build_s: float = 0.0


class Question(BaseModel):
    """The vectors, and what may be shown to whom."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    users_BD: Any
    items_VD: Any
    allowed: Any
    barred: Sequences

    @classmethod
    def draw(cls, job: TopkJob) -> "Question":
        """Draw it from the seed; the two special items have vectors of 0."""
        generator = np.random.default_rng(job.seed)
        users_BD = generator.standard_normal((job.num_users, job.dim), np.float32)
        items_VD = np.zeros((FIRST_ITEM + job.num_items, job.dim), np.float32)
        items_VD[FIRST_ITEM:] = generator.standard_normal((job.num_items, job.dim), np.float32)
        allowed = np.ones(len(items_VD), np.bool_)
        num_hidden = job.num_items - round(job.share_allowed * job.num_items)
        allowed[FIRST_ITEM + generator.permutation(job.num_items)[:num_hidden]] = False
        barred = generator.integers(FIRST_ITEM, len(items_VD), job.num_users * job.num_barred).astype(np.int32)
        offsets = np.arange(job.num_users + 1) * job.num_barred
        return cls(
            users_BD=users_BD,
            items_VD=items_VD,
            allowed=allowed,
            barred=Sequences(barred, np.zeros(len(barred), np.int64), offsets),
        )

    def exact(self, k: int) -> tuple[NDArray[np.int32], Floats]:
        """Rank by top_products."""
        return top_products.top_products(self.users_BD, [self.items_VD], k, self.allowed, self.barred)


def main(text: str) -> None:
    """Do a job and write its report."""
    job = TopkJob.model_validate_json(text)
    job.report.write_text(measure(job).model_dump_json())


def measure(job: TopkJob) -> TopkReport:
    """Measure one engine; raise ValueError where it cannot leave out items and the job asks for it."""
    if job.engine != "top_products" and (job.share_allowed < 1 or job.num_barred):
        raise ValueError(f"{job.engine} ranks all items: leave share_allowed and num_barred out")
    torch.set_num_threads(job.num_threads)
    top_products.BLOCK_USERS, top_products.BLOCK_ITEMS = job.block_users, job.block_items
    question = Question.draw(job)
    if job.engine.startswith("faiss"):
        return _approximate(job, question)
    small = Question.draw(job.model_copy(update={"num_users": 8, "num_items": 200}))
    if job.engine == "top_products":
        small.exact(min(job.k, 20))
        seconds, extra_mib, (items, scores) = _timed(lambda: question.exact(job.k), job.num_runs)
        return TopkReport(seconds=seconds, extra_mib=extra_mib, digest=_digest(items, scores))
    _product(small, reuse=False)()
    seconds, extra_mib, _ = _timed(_product(question, reuse=job.engine == "product_reused"), job.num_runs)
    return TopkReport(seconds=seconds, extra_mib=extra_mib)


def _product(question: Question, *, reuse: bool) -> Callable[[], None]:
    """Return the bare product of all users and items, into new memory each time or always into the same.

    The memory that is reused comes into being in the first call.
    """
    users_BD, items_DV = torch.from_numpy(question.users_BD), torch.from_numpy(question.items_VD[FIRST_ITEM:]).T
    memory: list[torch.Tensor] = []

    def multiply() -> None:
        if not reuse:
            torch.mm(users_BD, items_DV)
        elif memory:
            torch.mm(users_BD, items_DV, out=memory[0])
        else:
            memory.append(torch.mm(users_BD, items_DV))

    return multiply


def _timed(work: Callable[[], Any], num_runs: int) -> tuple[list[float], float, Any]:
    """Return the seconds of each run, the MiB by which the first raised resident memory, and the last result.

    The first run is not timed: it takes memory from the system that later ones are given again.
    """
    with Measurement() as before:
        pass
    with Measurement() as first:
        result = work()
    seconds = []
    for _ in range(num_runs):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return seconds, first.peak_mib - before.peak_mib, result


def _approximate(job: TopkJob, question: Question) -> TopkReport:
    """Build an index of faiss and search it."""
    import faiss

    faiss.omp_set_num_threads(job.num_threads)
    exact, _ = question.exact(job.k)
    items_VD = question.items_VD[FIRST_ITEM:]
    with Measurement() as before:
        pass
    with Measurement() as building:
        index = _index(faiss, job)
        if not index.is_trained:
            index.train(items_VD)
        index.add(items_VD)
    seconds, extra_mib, (_, found) = _timed(lambda: index.search(question.users_BD, job.k), job.num_runs)
    own = np.arange(len(exact))[:, None] * np.int64(len(question.items_VD))
    recall = float(np.isin(own + found + FIRST_ITEM, own + exact).mean())
    extra_mib += building.peak_mib - before.peak_mib
    return TopkReport(seconds=seconds, extra_mib=extra_mib, recall=recall, build_s=building.seconds)


def _index(faiss: Any, job: TopkJob) -> Any:
    """An index without items: all items, or cells of 4 * sqrt(items), or a graph of 32 neighbours."""
    if job.engine == "faiss_flat":
        return faiss.IndexFlatIP(job.dim)
    if job.engine == "faiss_ivf":
        num_cells = round(4 * job.num_items**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(job.dim), job.dim, num_cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = job.breadth
        return index
    index = faiss.IndexHNSWFlat(job.dim, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = job.breadth
    return index


def _digest(items: NDArray[np.int32], scores: Floats) -> str:
    return hashlib.sha256(items.tobytes() + scores.tobytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
