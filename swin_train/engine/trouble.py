"""What is done about updates that were left out and about losses that jump."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from swin_train.distributed import unwrap
from swin_train.engine.guard import BadSteps
from swin_train.engine.precision import MIN_SCALE
from swin_train.engine.run import Pace, Run
from swin_train.engine.spikes import MOST_ROLLBACKS
from swin_train.errors import NumericsError, StorageError
from swin_train.weights.write import write_text

logger = logging.getLogger(__name__)

_LEFT_OUT = 10  # updates up to a spike whose images are passed over after a rollback
_ADVICE = (
    "Lower TRAIN.BASE_LR (now {lr}), lengthen the warm-up, or use AMP_DTYPE bf16 or fp32 (now {precision})"
)


def face_trouble(run: Run, losses: Mapping[int, float]) -> bool:
    """Look at what the last updates left behind; ``losses`` are theirs, by their numbers.

    Returns:
        Whether the run went back to an earlier update.

    Raises:
        NumericsError: in every process, when the numbers went bad.
    """
    face_bad_steps(run)
    return face_spikes(run, losses)


def face_bad_steps(run: Run) -> None:
    """Say which updates were left out since the last call, and stop when there are too many.

    Raises:
        NumericsError: in every process, when more than ``TRAIN.MAX_BAD_STEPS`` of the last 1,000 were, or when the
            loss scale of fp16 fell below 1.
    """
    state, guard, scale = run.state, run.state.guard, run.state.loss_scale
    found = guard.look()
    if found is None:
        return
    is_collapsed = scale.is_enabled and scale.value.item() < MIN_SCALE
    is_frequent = not scale.is_enabled and guard.num_recent(state.step) > run.cfg.TRAIN.MAX_BAD_STEPS
    if scale.is_enabled and not is_collapsed:
        logger.info("fp16: loss scale %g after %d overflow(s)", scale.value.item(), found.count)
        return
    dump = run.folder.path / "bad_steps" / f"step-{found.last:08d}.json"
    if run.runtime.is_main:
        _dump(run, found, dump)
    logger.warning(
        "update %d was left out%s: a gradient was not finite; %s describes it",
        found.last,
        f", and {found.count - 1} before it" if found.count > 1 else "",
        dump,
    )
    if not (is_collapsed or is_frequent):
        return
    advice = _ADVICE.format(lr=run.cfg.TRAIN.BASE_LR, precision=run.precision.name)
    what = (
        f"the loss scale fell to {scale.value.item():g}"
        if is_collapsed
        else f"{guard.num_recent(state.step)} of the last 1,000 updates had gradients that are not finite, and "
        f"TRAIN.MAX_BAD_STEPS allows {run.cfg.TRAIN.MAX_BAD_STEPS}"
    )
    raise NumericsError(f"step {state.step}: {what}; {dump} describes the last. {advice}")


def _dump(run: Run, found: BadSteps, path: Path) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(_description(run, found), indent=1))
    except (OSError, StorageError) as error:  # the run matters more
        logger.warning("%s", error)


def _description(run: Run, bad: BadSteps) -> dict[str, object]:
    """What there is to know of an update that was left out."""
    plan, source = run.state.plan, run.train_feed.source
    epoch, step_in_epoch = divmod(bad.last - 1, plan.steps_per_epoch)
    trained = [p for group in run.state.optimizer.param_groups for p in group["params"]]
    names = {parameter: name for name, parameter in unwrap(run.state.model).named_parameters()}
    norms = {names[p]: norm for p, norm in zip(trained, bad.norms, strict=False)}
    return {
        "step": bad.last,
        "epoch": epoch + 1,
        "left_out_since_the_last_record": bad.count,
        "lr": [
            run.schedule.lr_of_update(bad.last - 1, group.get("lr_scale", 1.0))
            for group in run.state.optimizer.param_groups
        ],
        "loss_scale": bad.scale,
        "precision": run.precision.name,
        "images": [source.name(image) for image in run.train_feed.images_of(epoch, step_in_epoch)],
        "not_finite": [name for name, norm in norms.items() if norm - norm != 0],
        "gradient_norms": {name: norm if norm - norm == 0 else str(norm) for name, norm in norms.items()},
    }


def face_spikes(run: Run, losses: Mapping[int, float]) -> bool:
    """Note the losses of updates, by their numbers; after a spike keep the checkpoint before it, or go back to it.

    Returns:
        Whether the run went back.

    Raises:
        NumericsError: in every process, when it went back too often.
    """
    state, spikes, cfg = run.state, run.state.spikes, run.cfg
    found = spikes.find(losses, cfg.TRAIN.SPIKE_SIGMA)
    if found is None:
        return False
    step, why = found
    run.ending.pause()  # for looking through checkpoints
    before = run.checkpoints.newest_before(step)
    if before is not None:
        spikes.keep(before)
    logger.warning(
        "update %d: the loss jumped (%s); %s",
        step,
        why,
        "there is no checkpoint before it" if before is None else f"the checkpoint of step {before} is kept",
    )
    if cfg.TRAIN.ON_SPIKE != "rollback" or before is None:
        return False
    if spikes.num_rollbacks == MOST_ROLLBACKS:
        raise NumericsError(
            f"update {step}: the loss jumped again ({why}) after {MOST_ROLLBACKS} rollbacks. "
            + _ADVICE.format(lr=cfg.TRAIN.BASE_LR, precision=run.precision.name)
        )
    run.checkpoints.go_back(state, before)
    left_out = (max(state.step + 1, step - _LEFT_OUT + 1), step)
    state.spikes.left_out = [*spikes.left_out, left_out]
    state.spikes.kept, state.spikes.num_rollbacks = spikes.kept, spikes.num_rollbacks + 1
    run.recorder.start(state.step, state.evaluated)
    run.pace = Pace(state.step)
    logger.warning(
        "went back to update %d; the images of updates %d to %d are passed over", state.step, *left_out
    )
    return True
