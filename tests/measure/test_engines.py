"""Engines compute what eager torch does, or say in words why they do not."""

import os
import shutil
import sys

import pytest
import torch
from torch import nn

from bench.measure.engines import NoEngineError, check_outputs, outputs, ready, semi_structured_
from tests.helpers import net

INPUTS = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_onnx_runtime_computes_what_torch_does() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = net().eval()
    inputs = INPUTS.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = model(inputs)
    got = outputs(ready(model, inputs, "onnx", 1))
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.equal(outputs(ready(model, inputs, "eager", 1)), expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
def test_compiled_code_computes_what_torch_does() -> None:
    model, inputs = net().eval(), INPUTS.to(memory_format=torch.channels_last)
    with torch.inference_mode():  # outside of it the code would be compiled once more
        got, expected = outputs(ready(model, inputs, "compile", 1)), model(inputs)
    assert torch.allclose(got, expected, atol=1e-5)


def test_what_is_missing_or_unknown_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoEngineError, match="fp32 alone"):
        ready(net().eval().bfloat16(), INPUTS.bfloat16(), "onnx", 1)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NoEngineError, match=r"is not installed \(pip install 'pruning-bench\[latency\]'\)"):
        ready(net().eval(), INPUTS, "onnx", 1)


def test_a_compiler_that_fails_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        def run(_: object) -> None:
            raise RuntimeError("No working C++ compiler found\nin config.cpp.cxx" + "x" * 500)

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(NoEngineError) as caught:
        ready(net().eval(), INPUTS, "compile", 1)
    assert str(caught.value).startswith("torch.compile failed: RuntimeError: No working C++ compiler found in")
    assert len(str(caught.value)) < 200


def test_outputs_may_differ_by_rounding_only() -> None:
    expected = torch.tensor([[10.0, -1.0]])
    check_outputs(expected + 0.009, expected, "fp32")
    check_outputs(torch.zeros(1, 2), torch.zeros(1, 2), "fp32")
    for got in (expected + 0.02, torch.full((1, 2), float("nan"))):
        with pytest.raises(NoEngineError, match="differ from eager torch's"):
            check_outputs(got, expected, "fp32")
    check_outputs(expected + 0.02, expected, "fp16")


def test_two_of_four_names_what_stands_in_its_way() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 4))
    with pytest.raises(NoEngineError, match="linear layers, of which none is pruned"):
        semi_structured_(model, ["0.weight"])
    with pytest.raises(NoEngineError, match="need a CUDA device"):
        semi_structured_(model, ["0.weight", "2.weight"])
    assert type(model[2].weight) is nn.Parameter
