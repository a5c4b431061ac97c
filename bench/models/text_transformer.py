"""A small transformer encoder for texts (Vaswani et al. 2017, arXiv:1706.03762), pre-norm, of timm's blocks."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from bench.data.fitting import PADDING
from bench.errors import UserError


def text_transformer(
    input_shape: tuple[int, ...],
    num_classes: int,
    vocabulary: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
) -> nn.Module:
    """Return the network for tokens [T] below `vocabulary`; `heads` divides `width`. dropout: 0 to below 1."""
    if width % heads:
        raise UserError(f"text_transformer: width={width} is no multiple of heads={heads}")
    if len(input_shape) != 1:
        raise UserError(f"text_transformer is for texts, not for inputs of shape {list(input_shape)}")
    return TextTransformer(input_shape[0], num_classes, vocabulary, width, depth, heads, dropout)


class TextTransformer(nn.Module):
    """Embedding and learned positions, blocks of attention and MLP, mean over the words, linear."""

    def __init__(
        self, length: int, num_classes: int, vocabulary: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(1, length, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, proj_drop=dropout, attn_drop=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        for weight in (self.embedding.weight, self.positions):
            nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, T] to logits [B, num_classes]; padding is neither attended to nor averaged."""
        words = tokens.ne(PADDING)
        x = self.dropout(self.embedding(tokens) + self.positions)
        for block in self.blocks:
            x = block(x, attn_mask=words[:, None, None, :])
        kept = words[:, :, None].to(x.dtype)
        return self.head((self.norm(x) * kept).sum(1) / kept.sum(1))  # type: ignore[no-any-return]
