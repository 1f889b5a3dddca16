"""Supervised classification: images with one label each, or mixtures of two."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.config import Config
from swin_train.data.build import build_eval_feed, build_train_feed, open_datasets
from swin_train.data.formats import fingerprint
from swin_train.data.loader import Batch, EvalFeed, TrainFeed
from swin_train.data.sampler import BatchGeometry
from swin_train.errors import UserError
from swin_train.models.build import build_model
from swin_train.models.hierarchical import HierarchicalModel


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32, or in float64 where a model computes in it: losses are not computed in 16 bits."""
    return logits if logits.dtype == torch.float64 else logits.float()


class ClassificationLoss:
    """The loss of a classifier, which needs no data."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        weights = cfg.TRAIN.CLASS_WEIGHTS
        self._class_weights = torch.tensor(weights) if weights else None

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of every image of ``batch``, shape [B], in float32 or wider.

        Labels are smoothed by ``MODEL.LABEL_SMOOTHING``; mixed targets come smoothed already. ``bce`` is
        the mean over the classes of the binary cross-entropies (Wightman et al. 2021).
        """
        logits = at_least_float32(model(batch.images, drop_path_keys=batch.drop_path_keys))
        smoothing, targets = self.cfg.MODEL.LABEL_SMOOTHING, batch.targets
        is_mixed = targets.is_floating_point()
        if is_mixed:
            targets = targets.to(logits.dtype)
        weight = None if self._class_weights is None else self._class_weights.to(logits)
        if self.cfg.TRAIN.LOSS == "bce":
            if not is_mixed:
                targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
                targets = targets * (1 - smoothing) + smoothing / logits.shape[1]
            losses = F.binary_cross_entropy_with_logits(logits, targets, weight=weight, reduction="none")
            return losses.mean(dim=1)
        if is_mixed:
            smoothing = 0.0
        return F.cross_entropy(logits, targets, weight=weight, label_smoothing=smoothing, reduction="none")


class Classification(ClassificationLoss):
    """Data, model, loss and metrics of a classifier.

    Raises:
        UserError: the data cannot be opened, or a given ``MODEL.NUM_CLASSES`` or ``TRAIN.CLASS_WEIGHTS``
            contradicts the number of classes found.
    """

    def __init__(self, cfg: Config, *, need_train: bool = True) -> None:
        super().__init__(cfg)
        self.train_data, self.val_data = open_datasets(cfg, need_train=need_train)
        self.class_names: tuple[str, ...] = tuple(self.val_data.classes)
        self._check_classes()

    @property
    def num_classes(self) -> int:
        """The number of classes of the data."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """A hash of the names, labels and sizes of the training images, in their order."""
        assert self.train_data is not None, "opened without its training set"
        return fingerprint(self.train_data, in_order=True)  # images are drawn by number

    def fingerprint_in_any_order(self) -> str:
        """The same hash whatever the order of the images, as checkpoints of schema 1 recorded it."""
        assert self.train_data is not None, "opened without its training set"
        return fingerprint(self.train_data)

    def build_model(self) -> HierarchicalModel:
        """Return the model with a head for the classes of the data, on the CPU."""
        return build_model(self.cfg, num_classes=self.num_classes)

    def build_train_feed(
        self, geometry: BatchGeometry, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> TrainFeed:
        """Return the training batches of one process, with images in ``dtype``."""
        assert self.train_data is not None, "opened without its training set"
        return build_train_feed(self.cfg, self.train_data, geometry, device, self.num_classes, dtype)

    def build_eval_feed(self, rank: int, world_size: int, device: torch.device) -> EvalFeed:
        """Return one process's share of the validation images."""
        return build_eval_feed(self.cfg, self.val_data, rank=rank, world_size=world_size, device=device)

    def _check_classes(self) -> None:
        cfg, found = self.cfg, self.num_classes
        if cfg.is_given("MODEL.NUM_CLASSES") and cfg.MODEL.NUM_CLASSES != found:
            raise UserError(
                f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES} ({cfg.origins['MODEL.NUM_CLASSES']}), but "
                f"{cfg.DATA.DATA_PATH} holds {found} classes; leave the key out or set it to {found}"
            )
        num_weights = len(cfg.TRAIN.CLASS_WEIGHTS)
        if num_weights not in (0, found):
            raise UserError(
                f"TRAIN.CLASS_WEIGHTS has {num_weights} numbers, but {cfg.DATA.DATA_PATH} holds {found} "
                f"classes; give one number for each class, in the order of their labels, or none"
            )
