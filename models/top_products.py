"""Exact top-k of user vectors times item vectors, about as fast as the bare matrix product.

A float32 matrix product is rounded differently for another chunk or another number of threads. So here it only tells
which items can be among the best: those whose product comes within its rounding error of the k-th best score. The score
of these few is computed in float64, term after term in a fixed order, and rounded to float32: it depends on nothing but
the two vectors, and so does the list.

Shapes: B users, V items, D features, C items that may be shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from models.best_list import BestLists, push, sort_lists
from models.sequences import FIRST_ITEM, PADDING, Sequences
from models.threads import one_thread_a_block

BLOCK_USERS = 256
BLOCK_ITEMS = 4096  # with BLOCK_USERS: 4 MiB of products a thread, which stay in the processor's cache
GROUP = 64  # products compared with the threshold at a time
ROUNDING = 2.0**-24  # of float32, relative
LARGEST = 1e38  # score: float32 holds some times as much, for sums on the way to it

Floats = NDArray[np.float32]


def top_products(
    users_BD: Floats,
    item_blocks: Iterable[Floats],
    k: int,
    allowed: NDArray[np.bool_],
    barred: Sequences | None = None,
) -> tuple[NDArray[np.int32], Floats]:
    """Return the k items with the largest products for every user, best first, equal ones by item number.

    item_blocks: the vectors of all items, block after block from item 0 on, so that not all of them need be in memory.
    allowed: bool[V], what may be shown; padding and unknown never are. barred: B sequences of items that are not shown
    to that user. Returns items int32[B, k] and scores float32[B, k]; slots without an item hold 0 and -inf, at the end.
    Cost: 2 * B * V * D operations. Memory: BLOCK_USERS * BLOCK_ITEMS * 4 bytes a thread, one block, a copy of its
    allowed vectors where not all are allowed, and the result. Raises FloatingPointError where a vector is not finite,
    or a score might not be.
    """
    _check_finite(users_BD, "user", 0)
    allowed = allowed.copy()
    allowed[:FIRST_ITEM] = False
    numbers = np.flatnonzero(allowed).astype(np.int32)
    barred = Sequences.empty(len(users_BD)) if barred is None else barred
    barred = barred.where(allowed[barred.items])
    shares = [_share(users_BD, barred, numbers, start, k) for start in range(0, len(users_BD), BLOCK_USERS)]
    first = 0
    with one_thread_a_block() as pool:
        for block_VD in item_blocks:
            items_CD = _shown(block_VD, allowed[first : first + len(block_VD)], first)
            column = int(np.searchsorted(numbers, first))
            list(pool.map(partial(_rank, items_CD=items_CD, first=column, longest=_longest(items_CD)), shares))
            first += len(block_VD)
        list(pool.map(lambda share: sort_lists(share.lists), shares))
    assert first == len(allowed), f"{first} vectors for {len(allowed)} items"
    places = np.concatenate([share.lists.places for share in shares] or [np.empty((0, k), np.int32)])
    scores = np.concatenate([share.lists.scores for share in shares] or [np.empty((0, k), np.float32)])
    return np.append(numbers, np.int32(PADDING))[places], scores


@dataclass(frozen=True)
class _Share:
    """Some users, their lists so far, and which of their products are not shown: rows and columns, by column.

    Columns count the items that may be shown. lengths: of the users' vectors.
    """

    users_BD: Floats
    lengths: NDArray[np.float64]
    lists: BestLists
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def _share(users_BD: Floats, barred: Sequences, numbers: NDArray[np.int32], start: int, k: int) -> _Share:
    block = slice(start, min(start + BLOCK_USERS, len(users_BD)))
    own = barred.cut(barred.offsets[block], barred.lengths[block])
    by_column = np.argsort(own.items, kind="stable")
    return _Share(
        users_BD[block],
        np.sqrt(np.einsum("bd,bd->b", users_BD[block], users_BD[block], dtype=np.float64)),
        BestLists.empty(block.stop - block.start, k),
        own.rows[by_column],
        np.searchsorted(numbers, own.items[by_column]),
    )


def _shown(block_VD: Floats, allowed: NDArray[np.bool_], first: int) -> Floats:
    """Return the vectors of a block that may be shown; not a copy, where they are neighbours."""
    _check_finite(block_VD, "item", first)
    rows = np.flatnonzero(allowed)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return np.ascontiguousarray(block_VD[rows[0] : rows[-1] + 1])
    return block_VD[rows]


def _rank(share: _Share, items_CD: Floats, first: int, longest: float) -> None:
    """Offer the items of a block to some users: product after product, and after each a look for what is better.

    first: the column of the first of them. longest: the length of their longest vector.
    """
    users_BD, margins = share.users_BD, _margins(share, longest)
    memory = torch.empty(len(users_BD) * min(BLOCK_ITEMS, len(items_CD)))
    for start in range(0, len(items_CD), BLOCK_ITEMS):
        part_CD = items_CD[start : start + BLOCK_ITEMS]
        products = memory[: len(users_BD) * len(part_CD)].view(len(users_BD), -1)
        torch.mm(torch.from_numpy(users_BD), torch.from_numpy(part_CD).T, out=products)
        products_BC = products.numpy()
        column = first + start
        hidden = slice(*np.searchsorted(share.columns, (column, column + len(part_CD))))
        products_BC[share.rows[hidden], share.columns[hidden] - column] = -np.inf
        _offer(products_BC, users_BD, part_CD, margins, column, share.lists)


@njit(cache=True, nogil=True)
def _offer(
    products_BC: Floats, users_BD: Floats, items_CD: Floats, margins_B: Floats, start: int, lists: BestLists
) -> None:
    """Offer to each user's list the items whose product may beat its worst entry; the first item is number ``start``.

    An equal score loses to what is in the list, whose numbers are smaller: a product has to exceed the threshold.
    """
    num_users, num_items = products_BC.shape
    k = lists.scores.shape[1]
    for user in range(num_users):
        row, scores, places, size = products_BC[user], lists.scores[user], lists.places[user], lists.sizes[user]
        threshold = scores[0] - margins_B[user] if size == k else np.float32(-np.inf)
        for group in range(0, num_items, GROUP):
            end = min(group + GROUP, num_items)
            promising = False
            for item in range(group, end):  # without a branch, so that it is done for many items at once
                promising |= row[item] > threshold
            if promising:
                for item in range(group, end):
                    if row[item] > threshold:
                        size = push(scores, places, size, _score(users_BD[user], items_CD[item]), start + item)
                        if size == k:
                            threshold = scores[0] - margins_B[user]
        lists.sizes[user] = size


@njit(cache=True, nogil=True)
def _score(user_D: Floats, item_D: Floats) -> np.float32:
    """Multiply two vectors in float64; four sums, always the same, for the processor adds them side by side."""
    whole = len(user_D) - len(user_D) % 4
    first = second = third = fourth = 0.0
    for feature in range(0, whole, 4):
        first += np.float64(user_D[feature]) * np.float64(item_D[feature])
        second += np.float64(user_D[feature + 1]) * np.float64(item_D[feature + 1])
        third += np.float64(user_D[feature + 2]) * np.float64(item_D[feature + 2])
        fourth += np.float64(user_D[feature + 3]) * np.float64(item_D[feature + 3])
    for feature in range(whole, len(user_D)):
        first += np.float64(user_D[feature]) * np.float64(item_D[feature])
    return np.float32((first + second) + (third + fourth))


def _longest(vectors: Floats) -> float:
    return float(np.sqrt(np.einsum("cd,cd->c", vectors, vectors, dtype=np.float64).max(initial=0)))


def _margins(share: _Share, longest: float) -> Floats:
    """By how much a float32 product may differ from the score, float32[B]; 0 for a user whose vector is 0.

    A sum of D products in any order is off by at most about D roundings of |user| * |item| (Higham, "Accuracy and
    stability of numerical algorithms", section 3.1); three more are for the roundings of score and threshold.
    """
    if share.lengths.max(initial=0) * longest > LARGEST:
        raise FloatingPointError(
            f"vectors of users and items are up to {share.lengths.max():.2g} and {longest:.2g} long, and float32 "
            "cannot hold their product: the model diverged"
        )
    return (1.01 * (share.users_BD.shape[1] + 3) * ROUNDING * share.lengths * longest).astype(np.float32)


def _check_finite(vectors: Floats, whose: str, first: int) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise FloatingPointError(
            f"the vector of {whose} {first + int(np.argmin(finite))} is not finite (NaN or infinite): "
            "the model diverged or its weights are damaged"
        )
