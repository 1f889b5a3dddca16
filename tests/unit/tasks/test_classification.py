"""The losses of a classifier, against timm's."""

import pytest
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import nn

from swin_train.config import load_config
from swin_train.data.loader import Batch
from swin_train.errors import UserError
from swin_train.tasks import build_task


class Fixed(nn.Module):
    """Gives the same logits whatever it is shown."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images, drop_path_keys=None):
        return self.logits


@pytest.fixture
def logits():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 3, 1, 1])


def losses(tiny_opts, logits, targets, **changes):
    task = build_task(load_config(None, tiny_opts(**changes)))
    return task.loss(Fixed(logits), Batch(torch.zeros(6, 3, 16, 16), targets, torch.zeros(6), 6))


def test_pre_training_is_refused(tiny_opts):
    with pytest.raises(
        UserError, match=r"SimMIM pre-training is configured but not trained by this version yet"
    ):
        build_task(load_config(None, tiny_opts(DATA__MASK_RATIO=0.6)))


def test_cross_entropy_smooths_labels_as_timm_does(tiny_opts, logits):
    own = losses(tiny_opts, logits, LABELS)

    assert own.shape == (6,)
    torch.testing.assert_close(own.mean(), LabelSmoothingCrossEntropy(0.1)(logits, LABELS))


def test_mixed_targets_are_not_smoothed_again(tiny_opts, logits):
    targets = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)).softmax(dim=1)

    own = losses(tiny_opts, logits, targets)

    torch.testing.assert_close(own.mean(), SoftTargetCrossEntropy()(logits, targets))


def test_binary_cross_entropy_smooths_labels_as_timm_does(tiny_opts, logits):
    own = losses(tiny_opts, logits, LABELS, TRAIN__LOSS="bce")

    torch.testing.assert_close(own.mean(), BinaryCrossEntropy(smoothing=0.1)(logits, LABELS))


def test_class_weights_weigh_the_classes(tiny_opts, logits):
    changes = {"TRAIN__CLASS_WEIGHTS": [1, 2, 3, 4], "MODEL__LABEL_SMOOTHING": 0.0}

    own = losses(tiny_opts, logits, LABELS, **changes)

    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])[LABELS]
    torch.testing.assert_close(own, weights * F.cross_entropy(logits, LABELS, reduction="none"))


def test_the_loss_of_half_precision_logits_is_float32(tiny_opts, logits):
    assert losses(tiny_opts, logits.half(), LABELS).dtype == torch.float32


def test_the_data_says_how_many_classes_there_are(tiny_opts):
    task = build_task(load_config(None, tiny_opts()))

    assert task.class_names == ("digit_0", "digit_1", "digit_2", "digit_3")
    assert task.build_model().head.out_features == 4


def test_a_given_number_of_classes_must_agree(tiny_opts):
    assert build_task(load_config(None, tiny_opts(MODEL__NUM_CLASSES=4))).num_classes == 4
    with pytest.raises(UserError, match=r"MODEL.NUM_CLASSES is 10 \(--opts\), but .* holds 4 classes"):
        build_task(load_config(None, tiny_opts(MODEL__NUM_CLASSES=10)))
