"""Scores by angle alone: how long an item's vector is then says nothing, so frequent items are not favoured by it.

As in NISER (Gupta et al. 2019, arXiv 1909.04276): both sides have length 1, and the product is scaled.
"""

from typing import Final

from torch import Tensor
from torch.nn import functional as F

FIRST_SCALE: Final = 16.0  # that of NISER
MOST_SCALE: Final = 64.0


def cosine_query(states: Tensor, scale: Tensor) -> Tensor:
    """Return queries whose product with vectors of length 1 is their cosine, times a learnt scale.

    scale: what it is beyond FIRST_SCALE, a parameter that weight decay may pull to 0.
    """
    return F.normalize(states, dim=-1) * (FIRST_SCALE + scale).clamp(max=MOST_SCALE)
