"""The text transformer: what padding must not change, and what pruning reads of it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.config import load
from bench.errors import UserError
from bench.measure.cost import flops, parameters
from bench.measure.effective import effective_sparsity
from bench.models.text_transformer import text_transformer
from bench.seeds import global_stream
from criteria.tools.parameters import prunable

LENGTH, VOCABULARY, WIDTH = 6, 20, 8


@pytest.fixture
def model() -> nn.Module:
    with global_stream(0, "test"):
        return text_transformer((LENGTH,), 3, VOCABULARY, width=WIDTH, depth=2, heads=2).eval()


@pytest.fixture
def tokens() -> Tensor:
    drawn = torch.randint(2, VOCABULARY, (5, LENGTH), generator=torch.Generator().manual_seed(0))
    drawn[:, 4:] = 0
    return drawn


def test_it_is_what_its_layers_say_written_out(model: nn.Module, tokens: Tensor) -> None:
    x = model.embedding.weight[tokens[:1, :4]] + model.positions[:, :4]  # without any padding
    for block in model.blocks:
        q, k, v = block.attn.qkv(block.norm1(x)).view(1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
        x = x + block.attn.proj((weights @ v).transpose(1, 2).reshape(1, 4, WIDTH))
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
    torch.testing.assert_close(model(tokens[:1]), model.head(model.norm(x).mean(1)))


def test_a_text_is_the_same_beside_others_and_words_are_not(model: nn.Module, tokens: Tensor) -> None:
    torch.testing.assert_close(model(tokens), torch.cat([model(one) for one in tokens.split(1)]))
    assert not torch.allclose(model(tokens), model(tokens.flip(1).roll(4, 1)))  # positions count
    assert model(tokens).shape == (5, 3)


def test_attention_and_mlp_are_prunable_and_the_embedding_is_not(model: nn.Module, tokens: Tensor) -> None:
    layers = [
        f"blocks.{block}.{name}.weight" for block in (0, 1) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert list(prunable(model)) == [*layers, "head.weight"]
    masks = {name: torch.arange(w.numel()).view(w.shape) % 2 == 0 for name, w in prunable(model).items()}
    dense, masked = parameters(model, masks)
    assert dense - masked == sum(w.numel() for w in prunable(model).values()) // 2
    effective, disconnected, reason = effective_sparsity(model, masks, tokens[:1])
    assert (effective, disconnected) == (None, None)
    assert reason is not None
    assert "attention" in reason
    # 2 x weights x words; attention's two products, 2 x 2 x words^2 x width a block, stay.
    by_words = 2 * LENGTH * sum(w.numel() for name, w in prunable(model).items() if name != "head.weight")
    products, head = 2 * 4 * LENGTH**2 * WIDTH, 2 * 3 * WIDTH
    assert flops(model, masks, tokens[:1]) == (by_words + products + head, (by_words + head) // 2 + products)


def test_the_configuration_takes_the_vocabulary_of_the_data() -> None:
    arguments = ["experiment=text", "dataset.root=/data", "dataset.text.vocabulary=123"]
    assert load(arguments).choices[0].model.options["vocabulary"] == 123
    assert load(["model=text_transformer"]).choices[0].model.options["vocabulary"] == 0  # refused where it is built


def test_users_mistakes() -> None:
    with pytest.raises(UserError, match="width=10 is no multiple of heads=4"):
        text_transformer((6,), 2, 20, width=10)
    with pytest.raises(UserError, match=r"for texts, not for inputs of shape \[1, 8, 8\]"):
        text_transformer((1, 8, 8), 2, 20)
