from typing import TYPE_CHECKING

import numpy as np
import torch

from models.gru4rec import Gru4Rec, Gru4RecConfig, Network
from models.metrics import hit_at, relevance

if TYPE_CHECKING:
    from tests.models.conftest import Shop

TINY = Gru4RecConfig(dim=16, hidden_dim=24, length=8, num_epochs=15, learning_rate=0.02, batch_size=32, num_layers=2)


def test_a_planted_chain_is_learnt(shop: "Shop") -> None:
    model = Gru4Rec(TINY, shop.catalogue)
    model.fit(shop.train, seed=0)
    items, _ = model.topk(shop.histories, 1, np.ones(shop.num_items, np.bool_))
    assert hit_at(relevance(items, shop.targets), 1).mean() > 0.9


def test_no_position_sees_a_later_one() -> None:
    torch.manual_seed(0)
    network = Network(TINY, 10).double().eval()
    short, long = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 3, 4, 9, 0]])
    torch.testing.assert_close(network(long)[:, :3], network(short), rtol=0, atol=1e-12)
    assert not torch.allclose(network(long)[:, 3], network(short)[:, 2])
