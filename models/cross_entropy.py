"""Softmax cross-entropy over the whole catalogue without ever holding tokens x items.

A few tokens are scored at a time, and their gradient is taken on the spot (it is softmax minus one-hot), so memory is
one block of scores plus one gradient of the item table, instead of all scores and all their gradients.
Shapes: T tokens, D features, V items.
"""

from typing import Any

import torch
from torch import Tensor

BLOCK_BYTES = 2**25


def full_cross_entropy(hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor) -> Tensor:
    """Return the mean over tokens of -log softmax(hidden @ table.T)[target], differentiable in hidden and table.

    targets_T: int64 rows of the table. Gradients are computed even where none is asked for: use it to train.
    """
    loss: Tensor = _FullCrossEntropy.apply(hidden_TD, table_VD, targets_T)
    return loss


class _FullCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, table_VD: Tensor, targets_T: Tensor) -> Tensor:
        num_tokens = len(hidden_TD)
        step = max(1, BLOCK_BYTES // (table_VD.element_size() * len(table_VD)))
        total = hidden_TD.new_zeros(())
        grad_hidden, grad_table = torch.empty_like(hidden_TD), torch.zeros_like(table_VD)
        for start in range(0, num_tokens, step):
            part = slice(start, start + step)
            hidden, target = hidden_TD[part], targets_T[part, None]
            scores = hidden @ table_VD.T
            normaliser = scores.logsumexp(dim=1, keepdim=True)
            total += (normaliser - scores.gather(1, target)).sum()
            residual = scores.sub_(normaliser).exp_()
            residual.scatter_add_(1, target, torch.full_like(normaliser, -1.0))
            grad_hidden[part] = residual @ table_VD
            grad_table.addmm_(residual.T, hidden)
        ctx.save_for_backward(grad_hidden.div_(num_tokens), grad_table.div_(num_tokens))
        return total / num_tokens

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_table = ctx.saved_tensors
        return grads[0] * grad_hidden, grads[0] * grad_table, None
