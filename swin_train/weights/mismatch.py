"""In what the weights of a file differ from those of a model, in words."""

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.architecture import HEAD, Architecture, has_blocks, infer_architecture, num_classes
from swin_train.weights.geometry import Geometry, bounded_by_maps, other_scales, windows_of

_MOST_NAMED = 10  # names in one message


def check_same_architecture(state: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str) -> None:
    """Make sure that a file's weights can be those of a model but for windows, resolution and classes.

    Args:
        state: what the file holds, under published names.
        target: what the model needs, perhaps on the meta device.
        source: the file, as messages name it.

    Raises:
        UserError: they are of no Swin, of another family, width or depth, or a tensor is of another number of
            dimensions.
    """
    _check_dimensions(state, target, source)
    if not has_blocks(state):
        beginnings = dict.fromkeys(name.partition(".")[0] for name in state)
        raise UserError(
            f"{source}: holds another kind of model, not a Swin; its names begin with {listed(beginnings)}"
        )
    _check_whole_head(state, source)
    found, expected = infer_architecture(state), infer_architecture(target)
    problems = list(_differences(found, expected))
    if problems:
        raise UserError(
            f"{source}: is of another architecture: {'; '.join(problems)}. "
            f"The file: {found}. The model: {expected}"
        )
    _check_spatial_windows(state, target, found, source)


def check_same_computation(theirs: Geometry, ours: Geometry, family: str | None, source: str) -> None:
    """Make sure that a model uses a file's weights as they were trained, as far as the file tells.

    Windows may differ by what the maps bound alone, and with them the scales of a Swin v2's position biases where
    the model has none of its own; its windows may be others where these scales are those of the training.

    Args:
        theirs: what the file told.
        ours: the model's.
        family: of both, as MODEL.TYPE.
        source: the file, as messages name it.

    Raises:
        UserError: windows or scales are others; the message says what to set.
    """
    advice = other_scales(theirs, ours)
    if theirs.windows and ours.windows and theirs.windows != ours.windows:
        if not bounded_by_maps(theirs.windows):
            raise UserError(
                f"{source}: each stage has a window of its own, {list(theirs.windows)}; the model's are of one size, "
                f"bounded by maps alone, {list(ours.windows)}; fine-tune with --pretrained"
            )
        old, new = theirs.configured_window, ours.configured_window
        if old != new and (advice or family != "swinv2"):
            raise UserError(
                f"{source}: was trained in windows of {old}, the model has {new}; set "
                f"MODEL.{str(family).upper()}.WINDOW_SIZE to {old}, or fine-tune with --pretrained"
                + (f". For the windows of the model: {advice}" if advice else "")
            )
        if family == "swinv2" and not any(ours.pretrained_windows or ()):
            return  # the model takes over the file's scales
    if advice:
        raise UserError(f"{source}: {advice}")


def check_same_classes(state: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str) -> None:
    """Make sure that the head of a file is one of as many classes as that of a model.

    Raises:
        UserError: it is not, or one of them has none.
    """
    old, new = num_classes(state), num_classes(target)
    if old != new:
        raise UserError(
            f"{source}: has {old} classes, the model {new}; evaluate it on images of its classes, or fine-tune with "
            "--pretrained"
            if old and new
            else f"{source}: has {_head_of(old)}, the model {_head_of(new)}; fine-tune with --pretrained"
        )


def _head_of(num_classes: int) -> str:
    return f"a head of {num_classes} classes" if num_classes else "no head"


def differences(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], ignored: Collection[str] = ()
) -> str:
    """How names and shapes of two state dicts differ, in words; empty where they do not.

    Args:
        state: what a file holds.
        target: what a model needs.
        ignored: names in ``target`` that may be missing.
    """
    missing = [name for name in target if name not in state and name not in ignored]
    unknown = [name for name in state if name not in target]
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(target[name].shape)}"
        for name, tensor in state.items()
        if name in target and tensor.shape != target[name].shape
    ]
    return listed_by_kind(missing=missing, unknown=unknown, misshapen=misshapen)


def listed_by_kind(**names: Collection[str]) -> str:
    """Some names of each kind that there is; empty where there are none."""
    return ". ".join(f"{kind.capitalize()}: {listed(those)}" for kind, those in names.items() if those)


def listed(names: Collection[str]) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(list(names)[:_MOST_NAMED]) or "nothing"
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


def _differences(found: Architecture, expected: Architecture) -> Iterator[str]:
    if found.family != expected.family:
        yield f"is a {found.title}, the model a {expected.title}"
        return  # widths and depths of two families say nothing more
    if found.embed_dim != expected.embed_dim:
        yield f"has embed_dim {found.embed_dim}, the model {expected.embed_dim}"
    if found.patch_size != expected.patch_size:
        yield f"has patch_size {found.patch_size}, the model {expected.patch_size}"
    if found.in_chans != expected.in_chans:
        hint = f"(channels are not adapted: set IN_CHANS to {found.in_chans})"
        yield f"has in_chans {found.in_chans}, the model {expected.in_chans} {hint}"
    if len(found.depths) != len(expected.depths):
        yield f"has {len(found.depths)} stages, the model {len(expected.depths)}"
        return
    for stage, (theirs, ours) in enumerate(zip(found.depths, expected.depths, strict=True)):
        if theirs != ours:
            yield f"has {theirs} blocks in stage {stage}, the model {ours}"
    if found.num_heads != expected.num_heads:
        yield f"has heads {list(found.num_heads)}, the model {list(expected.num_heads)}"


def _check_whole_head(state: Mapping[str, Tensor], source: str) -> None:
    there = [name for name in HEAD if name in state]
    if len(there) == 1:
        (missing,) = set(HEAD) - set(there)
        raise UserError(f"{source}: holds {there[0]} without {missing}; expected both or neither of them")


def _check_spatial_windows(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], found: Architecture, source: str
) -> None:
    if found.family != "swin_mlp":
        return
    theirs, ours = windows_of(state), windows_of(target)
    if theirs is not None and ours is not None and theirs != ours:
        raise UserError(
            f"{source}: has windows {list(theirs)}, the model {list(ours)}, and a Swin-MLP's spatial weights cannot "
            f"be interpolated; set MODEL.SWIN_MLP.WINDOW_SIZE to {max(theirs)}, and DATA.IMG_SIZE so that maps give "
            "the windows of the file"
        )


def _check_dimensions(state: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str) -> None:
    """Make sure that shapes can be read off and interpolated; sizes are compared later, as a whole."""
    for name, tensor in state.items():
        wanted = target.get(name)
        if wanted is not None and tensor.ndim != wanted.ndim:
            raise UserError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}; it must have {wanted.ndim} dimension(s), "
                f"the model's is {tuple(wanted.shape)}"
            )
    weight, bias = (state.get(name) for name in HEAD)  # the head may be one that the target does not have
    if weight is not None and weight.ndim != 2:
        raise UserError(
            f"{source}: head.weight has the shape {tuple(weight.shape)}; it must have 2 dimensions"
        )
    if weight is not None and bias is not None and bias.shape != weight.shape[:1]:
        raise UserError(
            f"{source}: head.bias has the shape {tuple(bias.shape)}; it must have that of the rows of head.weight, "
            f"{tuple(weight.shape[:1])}"
        )
