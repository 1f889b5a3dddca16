"""Which parts of a model are not trained."""

from torch import nn

from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel


def freeze(model: nn.Module, rule: str) -> None:
    """Freeze what TRAIN.FREEZE says: none, "stages N" (the patch embedding too) or all_but_head.

    Call it before the optimizer is built, which leaves frozen parameters out.

    Raises:
        UserError: the rule is another, or does not fit the model.
    """
    if rule == "none":
        return
    if not isinstance(model, HierarchicalModel):
        raise UserError(f"TRAIN.FREEZE: {rule!r} is not known for {type(model).__name__}; set it to none")
    try:
        match rule.split():
            case ["all_but_head"]:
                model.freeze_all_but_head()
            case ["stages", number] if number.isdigit():
                model.freeze_stages(int(number))
            case _:
                raise ValueError('expected none, "stages N" or all_but_head')
    except ValueError as error:
        raise UserError(f"TRAIN.FREEZE: {rule!r}: {error}") from error
