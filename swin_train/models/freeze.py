"""Which parts of a model are not trained."""

from swin_train.config.freeze import ALL_BUT_HEAD, parse_freeze
from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel


def freeze(model: HierarchicalModel, rule: str) -> None:
    """Freeze what TRAIN.FREEZE says: none, "stages N" (the patch embedding too) or all_but_head.

    Call it before the optimizer is built, which leaves frozen parameters out.

    Raises:
        UserError: the rule is another, or does not fit the model.
    """
    try:
        frozen = parse_freeze(rule)
        if frozen == ALL_BUT_HEAD:
            model.freeze_all_but_head()
        elif frozen:
            model.freeze_stages(frozen)
    except ValueError as error:
        raise UserError(f"TRAIN.FREEZE: {rule!r}: {error}") from error
