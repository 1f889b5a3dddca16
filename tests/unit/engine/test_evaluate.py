"""The metrics of an evaluation."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swin_train.config import load_config
from swin_train.data.loader import EvalBatch
from swin_train.data.sampler import EvalSampler
from swin_train.distributed import Runtime
from swin_train.engine.evaluate import _named_checkpoint, _sums, _warn_of_other_inputs, evaluate_model
from swin_train.engine.precision import choose_precision
from swin_train.errors import UserError
from swin_train.weights.read import Weights

CPU = torch.device("cpu")


class Feed:
    """Seven images in batches of three; the last two places are padding, repeats of the last image."""

    def __init__(self, num_classes):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(7, num_classes, generator=generator)
        self.labels = torch.randint(num_classes, (7,), generator=generator)

    def batches(self):
        for start in (0, 3, 6):
            places = torch.arange(start, start + 3)
            chosen = places.clamp(max=6)
            yield EvalBatch(self.images[chosen], self.labels[chosen], places < 7)


def run(feed, model):
    precision = choose_precision(load_config(None, []), CPU)
    return evaluate_model(model, feed, precision, Runtime(CPU))


@pytest.mark.parametrize("num_classes", [3, 10])
def test_each_image_counts_once_and_padding_never(num_classes):
    feed = Feed(num_classes)

    result = run(feed, nn.Identity())

    ranks = (feed.images > feed.images.gather(1, feed.labels[:, None])).sum(1)
    assert result.num_images == 7
    assert result.k == min(5, num_classes)
    assert result.top1 == 100 * int((ranks == 0).sum()) / 7
    assert result.topk == 100 * int((ranks < result.k).sum()) / 7
    assert result.loss == pytest.approx(F.cross_entropy(feed.images, feed.labels).item(), rel=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_a_model_is_evaluated_in_evaluation_mode_and_comes_back_in_its_own(mode):
    class Watched(nn.Module):
        def forward(self, images):
            assert not self.training
            return images

    model = Watched().train(mode)

    run(Feed(3), model)

    assert model.training is mode


def test_a_result_reads_as_one_line():
    text = str(run(Feed(3), nn.Identity()))

    assert text.startswith("Acc@1 ")
    assert " Acc@3 " in text
    assert text.endswith("(7 images)")


@pytest.mark.parametrize(
    ("now", "facts", "warning"),
    [
        (16, {"img_size": 16}, ""),
        ([16, 16], {"img_size": 16}, ""),
        (16, {"img_size": [16, 16]}, ""),
        ([16, 24], {"img_size": [16, 24]}, ""),
        ([16, 24], {}, ""),  # weights of another project, or of before a fact was written
        ([16, 24], {"img_size": 16}, "DATA.IMG_SIZE [16, 24] instead of 16"),
        ([16, 24], {"img_size": [24, 16]}, "DATA.IMG_SIZE [16, 24] instead of [24, 16]"),
        (16, {"padding": "timm"}, "MODEL.PADDING reference instead of timm"),
    ],
)
def test_inputs_that_differ_from_those_of_the_training_are_said(caplog, now, facts, warning):
    cfg = load_config(None, ["DATA.IMG_SIZE", now, "MODEL.RESUME", "x.safetensors"])

    said = {name: json.dumps(value) for name, value in facts.items()}
    _warn_of_other_inputs(cfg, Weights({}, "x.safetensors", said), is_padded=True)

    assert caplog.messages == (
        [f"x.safetensors: evaluated with {warning} of its training"] if warning else []
    )


def test_evaluating_no_checkpoint_is_refused():
    with pytest.raises(UserError, match=r"MODEL.RESUME: is empty, .*; give --resume PATH"):
        _named_checkpoint(load_config(None))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7, 8])
def test_1003_images_are_counted_alike_by_any_number_of_processes(world_size):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1003, 10, generator=generator)
    labels = torch.randint(10, (1003,), generator=generator)
    logits[torch.arange(1003), labels] += 3 * torch.rand(1003, generator=generator)
    labels[-1] = logits[-1].argmax()  # the image that padding repeats is a right one, so that it would show
    better = (logits > logits.gather(1, labels[:, None])).sum(1)
    loss = F.cross_entropy(logits, labels, reduction="none")

    sums, forwards = torch.zeros(4, dtype=torch.float64), set()
    for rank in range(world_size):
        requests = list(EvalSampler(1003, world_size, rank, 64))
        forwards.add(tuple(len(request.indices) for request in requests))
        for request in requests:
            chosen, mask = torch.from_numpy(request.indices), torch.from_numpy(request.positions < 1003)
            sums += _sums(logits[chosen], labels[chosen], mask, 5)

    assert sums[:3].tolist() == [1003, int((better == 0).sum()), int((better < 5).sum())]
    assert 0.3 < sums[1] / 1003 < sums[2] / 1003 < 1
    assert sums[3].item() == pytest.approx(loss.double().sum().item(), rel=1e-6)  # float32 inside a batch
    assert len(forwards) == 1  # as many, of the same sizes: FSDP's collectives are in the forward
