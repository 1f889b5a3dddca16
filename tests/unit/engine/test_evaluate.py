"""The metrics of an evaluation."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swin_train.config import load_config
from swin_train.data.loader import EvalBatch
from swin_train.distributed import Runtime
from swin_train.engine.evaluate import _named_checkpoint, _warn_of_other_inputs, evaluate_model
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
