"""A network made positive, so that what its weights pass on from input to output can be added up."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from criteria import CriterionError

_UNDEFINED = {
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), "softmax"),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, Tensor.log_softmax), "softmax"),
    **dict.fromkeys((F.multi_head_attention_forward, F.scaled_dot_product_attention), "softmax attention"),
    **{F.layer_norm: "LayerNorm", F.group_norm: "GroupNorm", F.instance_norm: "InstanceNorm", F.rms_norm: "RMSNorm"},
}
"""Functions that divide by what depends on their own input, so that what flows in does not flow out."""


def positive(model: nn.Module) -> nn.Module:
    """Return a copy in float64 and eval mode, with absolute parameters and batch norms without mean.

    Raises CriterionError for a batch norm that stores no statistics.
    """
    net = copy.deepcopy(model).double()
    for name, module in net.named_modules():
        module.training = False
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is None:
                raise CriterionError(f"batch norm {name} stores no variance, so the flow through it is not defined")
            module.running_mean.zero_()
    for parameter in net.parameters():
        parameter.data.abs_()
    return net


class Conserving(TorchFunctionMode):
    """Raises CriterionError where a function, called as a module or not, does not conserve the flow."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function unless it is refused."""
        if func in _UNDEFINED:
            raise CriterionError(f"the flow through {_UNDEFINED[func]} is not defined: what flows in does not flow out")
        return func(*args, **(kwargs or {}))
