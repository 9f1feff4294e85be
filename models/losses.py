"""The losses of next-item models, in one place: over all items, or over the target and sampled negatives.

All return the mean over tokens and are differentiable in `hidden_TD` and `table_VD`. Products are done in the type of
the autocast region in which they are called, sums in float32.
Shapes: T tokens, D features, V items, K sampled negatives, which all tokens share.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.negatives import Negatives

BLOCK_BYTES = {"cpu": 2**23}  # of scores at a time: what stays in a processor's cache
GPU_BLOCK_BYTES = 2**28
ALIGNMENT = 64  # tokens: few shapes of products, for each of which the libraries beneath keep code and memory
LEAST = torch.finfo(torch.float32).tiny


def full_softmax(hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor) -> Tensor:
    """Return -log softmax(hidden @ table.T)[target], never holding tokens x items.

    A block of tokens is scored at a time, and its gradient is taken on the spot (it is softmax minus one-hot). Zero
    vectors fill the last block; they change neither gradient. A token counts 87 at most, where its probability is less
    than float32 can hold. targets_T: int64 rows of the table.
    Gradients are computed even where none is asked for: use it to train.
    """
    kind = hidden_TD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_TD.dtype
    loss: Tensor = _FullSoftmax.apply(hidden_TD, table_VD, targets_T, dtype)
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor, dtype: torch.dtype) -> Tensor:
        num_tokens, num_items = len(hidden_TD), len(table_VD)
        kind = hidden_TD.device.type
        step = _block_of_tokens(num_tokens, dtype.itemsize * num_items, kind)
        padding = -num_tokens % ALIGNMENT
        hidden = F.pad(hidden_TD.to(dtype), (0, 0, 0, padding))
        targets_T1, table = F.pad(targets_T, (0, padding))[:, None], table_VD.to(dtype)
        scores, shares = hidden.new_empty(2, step, num_items)
        rows = torch.arange(step, device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        grad_table = torch.zeros_like(table_VD, dtype=torch.float32)
        log_shares = hidden.new_empty(len(hidden), dtype=torch.float32)
        with torch.autocast(kind, enabled=False):
            for part_TD, part_T1, grad, log_share in zip(
                hidden.split(step), targets_T1.split(step), grad_hidden.split(step), log_shares.split(step), strict=True
            ):
                share = shares[: len(part_TD)]
                torch.mm(part_TD, table.T, out=scores[: len(part_TD)])
                torch.softmax(scores[: len(part_TD)], dim=1, out=share)
                log_share.copy_(share.gather(1, part_T1)[:, 0]).clamp_(LEAST).log_()
                share[rows[: len(part_TD)], part_T1[:, 0]] -= 1
                torch.mm(share, table, out=grad)
                grad_table += share.T @ part_TD
        grads = grad_hidden[:num_tokens].to(hidden_TD.dtype).div_(num_tokens), grad_table.to(table_VD.dtype)
        ctx.save_for_backward(grads[0], grads[1].div_(num_tokens))
        return -log_shares[:num_tokens].mean().to(torch.promote_types(hidden_TD.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_table = ctx.saved_tensors
        return grads[0] * grad_hidden, grads[0] * grad_table, None, None


def _block_of_tokens(num_tokens: int, token_bytes: int, kind: str) -> int:
    """Return how many tokens are scored at a time: a multiple of ALIGNMENT, all of them if that is less."""
    most = max(1, BLOCK_BYTES.get(kind, GPU_BLOCK_BYTES) // (token_bytes * ALIGNMENT)) * ALIGNMENT
    return min(num_tokens + -num_tokens % ALIGNMENT, most)


def sampled_softmax(hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor, negatives: Negatives) -> Tensor:
    """Return -log of the target's share of exp(score), the rest of the items estimated from the negatives.

    Each negative stands for 1 / (times it is expected among K draws) items, the "logQ correction" of Bengio & Senécal
    (2008, "Adaptive importance sampling to accelerate training of a neural probabilistic language model"): so the
    estimated sum is right on average however negatives are drawn. A negative that is the token's target is left out.
    """
    positive_T, negative_TK = _scores(hidden_TD, table_VD, targets_T, negatives)
    rest_T = (negative_TK - negatives.log_expected).logsumexp(dim=1)
    return (torch.logaddexp(positive_T, rest_T) - positive_T).mean()


def binary_cross_entropy(hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor, negatives: Negatives) -> Tensor:
    """Return -log sigmoid(target) - mean over negatives of log(1 - sigmoid(negative)).

    On average it is the loss of one negative a target (as in SASRec, arXiv 1808.09781), with less noise.
    """
    positive_T, negative_TK = _scores(hidden_TD, table_VD, targets_T, negatives)
    return (F.softplus(-positive_T) + F.softplus(negative_TK).mean(dim=1)).mean()


def generalised_binary_cross_entropy(
    hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor, negatives: Negatives, calibration: float, num_items: int
) -> Tensor:
    """Return the gBCE of Petrov & Macdonald (arXiv 2308.07192): less overconfident than BCE.

    The target's probability is raised to a power between 1 (calibration 0: BCE with K negatives a target) and the
    share of the num_items items that are drawn (calibration 1: trained scores are as if no item were left out). With as
    many draws as items none is left out, and the power is 1.
    """
    sampled = min(1.0, len(negatives.numbers) / max(1, num_items - 1))
    power = sampled * (calibration * (1 - 1 / sampled) + 1 / sampled)
    positive_T, negative_TK = _scores(hidden_TD, table_VD, targets_T, negatives)
    terms_T = power * F.softplus(-positive_T) + F.softplus(negative_TK).sum(dim=1)
    return (terms_T / (len(negatives.numbers) + 1)).mean()


def _scores(hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Score the target and the negatives of every token, float32[T] and float32[T, K]; -inf where both are the same."""
    positive_T = (hidden_TD * table_VD[targets_T]).sum(dim=1).float()
    negative_TK = (hidden_TD @ table_VD[negatives.numbers].T).float()
    return positive_T, negative_TK.masked_fill(negatives.numbers == targets_T[:, None], -torch.inf)
