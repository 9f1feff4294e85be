import math

import torch

from models.cosine import FIRST_SCALE, MOST_SCALE, cosine_query


def test_the_product_with_a_vector_of_length_1_is_the_scaled_cosine() -> None:
    states, angle = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), math.pi / 6
    item = torch.tensor([math.cos(angle), math.sin(angle)])
    found = cosine_query(states, torch.tensor(4.0)) @ item
    torch.testing.assert_close(found, (FIRST_SCALE + 4) * torch.tensor([math.cos(angle), math.sin(angle)]))


def test_the_scale_is_bounded_and_a_state_of_zeros_asks_for_nothing() -> None:
    assert cosine_query(torch.ones(1, 1), torch.tensor(1e6)).item() == MOST_SCALE
    assert not cosine_query(torch.zeros(1, 3), torch.tensor(0.0)).any()
