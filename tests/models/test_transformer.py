import pytest
import torch

from models.transformer import Block, check_heads


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    return Block(dim=8, num_heads=2, dropout=0.5).double().eval()


def states(num_rows: int, length: int) -> torch.Tensor:
    return torch.randn(num_rows, length, 8, generator=torch.Generator().manual_seed(1)).double()


def test_no_position_depends_on_a_later_one(block: Block) -> None:
    x = states(2, 5)
    torch.testing.assert_close(block(x)[:, :3], block(x[:, :3]))
    assert not torch.allclose(block(x[:, 1:])[:, 0], block(x)[:, 1])


def test_one_position_alone_is_what_it_is_among_all(block: Block) -> None:
    x, last = states(3, 5), torch.tensor([4, 0, 2])
    torch.testing.assert_close(block.at(x, last), block(x)[torch.arange(3), last])


def test_with_a_mask_every_position_sees_what_is_marked_and_nothing_else(block: Block) -> None:
    x, seen = states(2, 5), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]).bool()
    found = block(x, seen)
    for row, length in ((0, 3), (1, 2)):
        whole = torch.ones(1, length).bool()
        torch.testing.assert_close(found[row, :length], block(x[row : row + 1, :length], whole)[0])
    assert not torch.allclose(found[0, 0], block(x)[0, 0])  # the first position sees later ones


def test_features_are_divided_among_the_heads() -> None:
    check_heads(8, 4)
    with pytest.raises(ValueError, match="dim 8 is not a multiple of num_heads 3"):
        check_heads(8, 3)
