"""Session-kNN: the items of the past sequences that are most like the history (Jannach & Ludewig 2017, "When recurrent
neural networks meet the neighborhood for session-based recommendation").

similarity(history, s) = sum over the distinct items that both hold of the item's weight / sqrt(distinct items of s);
the weight falls linearly from 1 for the newest item of the history. The `num_neighbours` most similar sequences, newer
ones first among equals, each give their similarity to their items.
Of each sequence the last `max_events` count, and of each item the last `max_sequences` sequences that hold it: so a
query costs at most query_events * max_sequences + num_neighbours * max_events, however long the log grows.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array, vstack

from models.best_list import push
from models.itemknn import touched
from models.recommender import Capabilities, ModelConfig, Validation
from models.row_recommender import RowRecommender, by_popularity
from models.sequences import Sequences
from models.stages import Pass, Run, Stage
from models.threads import one_thread_a_block

BLOCK_SUBJECTS = 128


class SessionKnnConfig(ModelConfig):
    """Events of a history that ask, neighbours that answer, and how much of the past is kept."""

    query_events: int = Field(default=20, ge=1, le=10_000)
    num_neighbours: int = Field(default=100, ge=1, le=100_000)
    max_events: PositiveInt = 50
    max_sequences: PositiveInt = 5000


class SessionKnn(RowRecommender[SessionKnnConfig]):
    """Ranks by the similarity of the neighbours that hold an item. Memory: 8 bytes an event of what is kept."""

    name = "session_knn"
    label = "Session-kNN"
    reason = "in sequences like this one"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = SessionKnnConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": SessionKnnConfig(max_sequences=500),
        "small": SessionKnnConfig(),
        "paper": SessionKnnConfig(num_neighbours=500),
    }

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Keep the newest events of the sequences, both ways round."""
        yield Pass("fit", lambda: self._remember(train.without_unknown()))

    def _remember(self, known: Sequences) -> None:
        self.order = by_popularity(np.bincount(known.items, minlength=self.num_items))
        newest = np.argsort(known.last_times(), kind="stable")
        held = touched(known.take(newest[known.lengths[newest] > 0]).tail(self.config.max_events), self.num_items)
        self._items_of, self._item_offsets = held.indices.astype(np.int32), held.indptr.astype(np.int64)
        holders = csr_array(held.T)
        holders.sort_indices()
        kept = np.minimum(np.diff(holders.indptr), self.config.max_sequences)
        by_item = Sequences(
            holders.indices.astype(np.int32), np.zeros(holders.nnz, np.int64), holders.indptr.astype(np.int64)
        )
        last = by_item.cut(by_item.offsets[1:] - kept, kept)
        self._holders_of, self._holder_offsets = last.items, last.offsets

    def found(self, histories: Sequences) -> csr_array:
        """Return the summed similarities of the neighbours of every history."""
        recent = histories.tail(self.config.query_events)

        def ask(start: int) -> csr_array:
            block = recent.take(np.arange(start, min(start + BLOCK_SUBJECTS, len(recent))))
            return self._ask(block)

        with one_thread_a_block() as pool:
            blocks = list(pool.map(ask, range(0, len(recent), BLOCK_SUBJECTS)))
        return vstack([*blocks, csr_array((0, self.num_items), dtype=np.float32)], format="csr")

    def _ask(self, histories: Sequences) -> csr_array:
        widest = min(self.num_items, self.config.num_neighbours * self.config.max_events)
        items = np.empty(len(histories) * widest, np.int32)
        scores = np.empty(len(histories) * widest, np.float32)
        offsets = _answer(
            histories.items,
            histories.offsets,
            (self._holders_of, self._holder_offsets),
            (self._items_of, self._item_offsets),
            self.config.num_neighbours,
            items,
            scores,
        )
        rows = (scores[: offsets[-1]], items[: offsets[-1]], offsets)
        return csr_array(rows, shape=(len(histories), self.num_items))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return both indices and the popularity order."""
        return {
            "items_of": self._items_of,
            "item_offsets": self._item_offsets,
            "holders_of": self._holders_of,
            "holder_offsets": self._holder_offsets,
            "order": self.order,
        }

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them over."""
        self._items_of, self._item_offsets = state["items_of"], state["item_offsets"]
        self._holders_of, self._holder_offsets = state["holders_of"], state["holder_offsets"]
        self.order = state["order"]


@njit(cache=True, nogil=True)
def _answer(  # type: ignore[no-untyped-def]
    histories, history_offsets, holders, sequences, num_neighbours, items, scores
):
    """Write each history's found items and scores one after the other; return where those of each begin, int64[B + 1].

    holders: the sequences that hold each item, flat and offsets; sequences: the items of each, likewise.
    """
    holder_flat, holder_offsets = holders
    item_flat, item_offsets = sequences
    num_sequences, num_items = len(item_offsets) - 1, len(holder_offsets) - 1
    overlap, score = np.zeros(num_sequences, np.int32), np.zeros(num_items, np.float32)
    asked_in = np.full(num_items, -1, np.int64)  # the last history that asked with an item
    similar = np.empty(num_sequences, np.int32)
    best, places = np.empty(num_neighbours, np.float32), np.empty(num_neighbours, np.int32)
    offsets = np.zeros(len(history_offsets), np.int64)
    for row in range(len(history_offsets) - 1):
        first, stop, num_similar = history_offsets[row], history_offsets[row + 1], 0
        for event in range(stop - 1, first - 1, -1):  # the newest first: a repeat has the weight of the last time
            item = histories[event]
            if asked_in[item] == row:
                continue
            asked_in[item] = row
            weight = event - first + 1  # in whole numbers, so that equal sums are equal in whatever order
            for holder in holder_flat[holder_offsets[item] : holder_offsets[item + 1]]:
                if overlap[holder] == 0:
                    similar[num_similar] = holder
                    num_similar += 1
                overlap[holder] += weight
        size = 0
        for holder in similar[:num_similar]:
            length = item_offsets[holder + 1] - item_offsets[holder]
            similarity = np.float32(overlap[holder] / ((stop - first) * np.sqrt(length)))
            size = push(best, places, size, similarity, num_sequences - 1 - holder)
            overlap[holder] = 0
        end = offsets[row]
        for neighbour in range(size):
            holder = num_sequences - 1 - places[neighbour]
            for item in item_flat[item_offsets[holder] : item_offsets[holder + 1]]:
                if score[item] == 0:
                    items[end] = item
                    end += 1
                score[item] += best[neighbour]
        for place in range(offsets[row], end):
            scores[place] = score[items[place]]
            score[items[place]] = 0
        offsets[row + 1] = end
    return offsets
