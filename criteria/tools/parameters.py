"""Which parameters of a model can be pruned."""

from torch import nn

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> parameter of every prunable weight, in the order of `model.named_parameters()`.

    Prunable are the weights of convolutions and linear layers and the packed input projection of attention; not
    normalisation, not biases, not embeddings. A weight shared by several layers appears once, under its first name.
    """
    owned = {
        id(weight)
        for module in model.modules()
        for weight in (
            module.weight if isinstance(module, LAYERS) else None,
            module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else None,
        )
        if weight is not None
    }
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in owned}
