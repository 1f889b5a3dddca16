"""A training run, from its configuration to its last checkpoint."""

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from timm.utils import ModelEmaV3

from swin_train.config import Config
from swin_train.data.draws import Stream, key
from swin_train.data.loader import EvalFeed
from swin_train.data.workers import reported_worker_losses
from swin_train.distributed import Runtime, Spread, choose_spread, launch, parallelize, unwrap
from swin_train.distributed.agreement import check_agreement
from swin_train.distributed.compilation import compile_model
from swin_train.distributed.parallelize import place_average
from swin_train.distributed.signals import StopSignals
from swin_train.engine.attention import say_attention
from swin_train.engine.bad_images import BadImageList
from swin_train.engine.checkpoint import Checkpointer
from swin_train.engine.ending import Ending
from swin_train.engine.epoch import train_epoch
from swin_train.engine.evaluate import Evaluation, evaluate_model
from swin_train.engine.header import make_header
from swin_train.engine.identity import RunFacts, check_same_facts, run_facts
from swin_train.engine.plan import RunPlan, make_plan
from swin_train.engine.precision import Precision, choose_precision
from swin_train.engine.run import Pace, Run
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.state import TrainState, seed_library_generators
from swin_train.errors import NumericsError
from swin_train.models.describe import num_parameters
from swin_train.models.freeze import freeze
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.optim.optimizers import build_optimizer
from swin_train.optim.schedules import build_schedule
from swin_train.record import Recorder
from swin_train.tasks import Classification, build_task
from swin_train.zoo.load import load_pretrained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """How a run ended: where it is, its last evaluation, and the best top-1 of each kind of weights.

    ``best`` has the keys ``raw`` and, where averaging is on, ``ema``; ``evaluation`` is None when nothing
    was left to train.
    """

    folder: Path
    evaluation: Evaluation | None
    best: dict[str, float]


def train(cfg: Config) -> Summary:
    """Train as ``cfg`` says, from scratch or from the last checkpoint in its output folder.

    Raises:
        UserError: something that the user can mend. What can be known at the start is raised before
            anything is trained.
        Stopped: a signal or Ctrl-C asked for it; the state is saved, and the same call goes on.
    """
    with (
        StopSignals() as signals,
        launch(cfg) as runtime,
        RunFolder(cfg, runtime) as folder,
        Recorder(folder.path, runtime.is_main) as recorder,
        Ending(folder, runtime, signals, cfg.DIST.TIMEOUT_S).reported() as ending,
        reported_worker_losses(),
        Checkpointer(cfg, folder, runtime) as checkpoints,
        ending.watched(),
    ):
        run = _make_run(cfg, runtime, folder, recorder, checkpoints, signals, ending)
        val_feed = run.task.build_eval_feed(runtime.rank, runtime.world_size, runtime.device)
        state, evaluation = run.state, None
        signals.defer()  # from here there is something to save
        runtime.files.meet()  # from here no process waits long for another
        while not state.finished:
            if not state.needs_evaluation:
                train_epoch(run)
                continue
            is_saved = state.epoch % cfg.SAVE_FREQ == 0 or run.is_step_saved or state.is_trained
            evaluation = _evaluate(run, val_feed, is_saved=is_saved)
            if is_saved:
                checkpoints.save_weights("last", state, "raw", _header(run, "raw", evaluation))
                run.save(must=state.finished)
        _report(folder.path, run)
        return Summary(folder.path, evaluation, dict(state.best))


def _make_run(
    cfg: Config,
    runtime: Runtime,
    folder: RunFolder,
    recorder: Recorder,
    checkpoints: Checkpointer,
    signals: StopSignals,
    ending: Ending,
) -> Run:
    """Put together what the loop works with, where the last checkpoint left off."""
    if runtime.world_size > 1 and runtime.is_main and cfg.DATA.TIMEOUT_S >= cfg.DIST.TIMEOUT_S:
        logger.warning(
            "DATA.TIMEOUT_S is %g and DIST.TIMEOUT_S %g: where a worker hangs, the other processes give up before its "
            "own says which; make DATA.TIMEOUT_S shorter",
            cfg.DATA.TIMEOUT_S,
            cfg.DIST.TIMEOUT_S,
        )
    task = build_task(cfg)
    plan = _make_plan(cfg, task, checkpoints, runtime)
    facts = run_facts(plan, task.class_names, task.fingerprint)
    check_same_facts(facts, runtime)
    checkpoints.check_identity(facts, task.fingerprint_in_any_order)
    precision = choose_precision(cfg, runtime.device)
    spread = choose_spread(cfg, runtime, precision.dtype)
    state = _build_state(cfg, task, plan, precision, spread, runtime, is_new=checkpoints.source is None)
    checkpoints.resume(state)  # last: everything that is restored exists now
    ending.step = state.step
    if state.finished:
        logger.info("nothing is left to train: raise TRAIN.EPOCHS (%d), or choose another TAG", plan.epochs)
    elif runtime.is_main:
        folder.describe(cfg, _resolved(facts, plan, state, precision, runtime), state.step)
    recorder.start(state.step, state.evaluated)
    return Run(
        cfg=cfg,
        task=task,
        state=state,
        schedule=build_schedule(cfg, plan),
        train_feed=task.build_train_feed(plan.geometry(runtime.rank), runtime.device, precision.input_dtype),
        precision=precision,
        runtime=runtime,
        spread=spread,
        recorder=recorder,
        checkpoints=checkpoints,
        facts=facts,
        header=make_header(cfg, cast(HierarchicalModel, unwrap(state.model)), task.class_names),
        pace=Pace(state.step),
        bad_images=BadImageList(folder.path / "bad_images.jsonl", runtime),
        folder=folder,
        signals=signals,
        ending=ending,
    )


def _make_plan(cfg: Config, task: Classification, checkpoints: Checkpointer, runtime: Runtime) -> RunPlan:
    assert task.train_data is not None
    plan = make_plan(
        cfg,
        world_size=runtime.world_size,
        num_images=task.train_data.num_images,
        num_classes=task.num_classes,
        recorded=checkpoints.recorded,
    )
    logger.info("%s", plan)
    return plan


def _build_state(
    cfg: Config,
    task: Classification,
    plan: RunPlan,
    precision: Precision,
    spread: Spread,
    runtime: Runtime,
    *,
    is_new: bool,
) -> TrainState:
    seed_library_generators(key(plan.seed, Stream.INIT), runtime.device)
    model = task.build_model()
    if cfg.MODEL.PRETRAINED and is_new:  # before wrapping, while names and shapes are plain
        logger.info("%s: %s", cfg.MODEL.PRETRAINED, load_pretrained(model, cfg.MODEL.PRETRAINED))
    elif cfg.MODEL.PRETRAINED:
        logger.info("MODEL.PRETRAINED is not read: the run goes on from its own checkpoint")
    freeze(model, cfg.TRAIN.FREEZE)
    say_attention(model, runtime.device, precision)
    model.to(precision.parameter_dtype)
    runtime.files.meet()  # who found the images and the weights first waits for the others
    check_agreement(model.state_dict().values(), 0, runtime.files, "at the start")
    ema = ModelEmaV3(model, decay=cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
    for compiled in [model] if ema is None else [model, ema.module]:
        compile_model(compiled, cfg.TRAIN.COMPILE, runtime.device)
    wrapped = parallelize(model, spread, is_static=plan.accumulation == 1)  # which moves the model itself
    if ema is not None:
        place_average(ema.module, spread)
    state = TrainState(
        model=wrapped,
        optimizer=build_optimizer(cfg, model, base_lr=plan.base_lr, device=runtime.device),
        loss_scale=precision.loss_scale(runtime.device),
        plan=plan,
        ema=ema,
    )
    if is_new:
        state.step = state.evaluated = cfg.TRAIN.START_EPOCH * plan.steps_per_epoch
    total, trained = num_parameters(model), num_parameters(model, trainable_only=True)
    logger.info(
        "%s: %.4g M parameters%s, on %d x %s in %s",
        cfg.MODEL.NAME,
        total / 1e6,
        f", {trained / 1e6:.4g} M of them trained" if trained < total else "",
        runtime.world_size,
        runtime.device.type,
        f"{precision.name}, {cfg.DIST.STRATEGY}" if runtime.world_size > 1 else precision.name,
    )
    return state


def _resolved(
    facts: RunFacts, plan: RunPlan, state: TrainState, precision: Precision, runtime: Runtime
) -> dict[str, object]:
    return facts | {
        "plan": asdict(plan),
        "parameters": num_parameters(unwrap(state.model)),
        "precision": precision.name,
        "device": str(runtime.device),
    }


def _evaluate(run: Run, feed: EvalFeed, *, is_saved: bool) -> Evaluation:
    """Evaluate every kind of weights, record it, and keep the best of each; return the raw one's.

    ``is_saved`` says whether the training state will be: only then it can be kept for the best one's sake.
    """
    state = run.state
    run.ending.pause()
    results = {
        kind: evaluate_model(model, feed, run.precision, run.runtime, at_each_batch=run.stop_if_asked)
        for kind, model in state.weights().items()
    }
    raw = results["raw"]
    if not math.isfinite(raw.loss):  # before anything is kept of it
        raise NumericsError(
            f"epoch {state.epoch}: the validation loss is {raw.loss}; the weights went bad and were not saved. Lower "
            f"TRAIN.BASE_LR (now {run.cfg.TRAIN.BASE_LR}), lengthen the warm-up, or use AMP_DTYPE bf16 or fp32"
        )
    numbers: dict[str, float] = {
        "step": state.step,
        "epoch": state.epoch,
        "num_images": raw.num_images,
        "bad_images": run.bad_images.count,
    }
    for kind, result in results.items():
        prefix = "" if kind == "raw" else f"{kind}_"
        numbers |= {
            f"{prefix}top1": result.top1,
            f"{prefix}top{result.k}": result.topk,
            f"{prefix}loss": result.loss,
        }
        logger.info("val epoch %d %s%s", state.epoch, "" if kind == "raw" else f"{kind} ", result)
        name = "best" if kind == "raw" else f"best_{kind}"
        is_best = result.top1 > state.best.get(kind, -1.0)
        if is_best and run.checkpoints.save_weights(name, state, kind, _header(run, kind, result)):
            state.best[kind] = result.top1
            state.best_step = state.step if kind == "raw" and is_saved else state.best_step
    run.recorder.evaluation(numbers)
    state.evaluated = state.step
    return raw


def _header(run: Run, kind: str, result: Evaluation) -> dict[str, str]:
    """Return what travels with weights, and which ones they are."""
    now = {"step": run.state.step, "epoch": run.state.epoch, "top1": result.top1}
    return {"weights": kind} | run.header | {name: json.dumps(value) for name, value in now.items()}


def _report(folder: Path, run: Run) -> None:
    state = run.state
    if run.bad_images.count:
        logger.warning(
            "%d training image(s) could not be used and were replaced by others of their class: %s names them",
            run.bad_images.count,
            folder / "bad_images.jsonl",
        )
    kinds = {"raw": "best Acc@1", "ema": "best Acc@1 of the averaged weights"}
    best = "".join(f"{kinds[kind]} {top1:.3f}, " for kind, top1 in state.best.items())
    logger.info("done: %d updates, %severything is in %s", state.step, best, folder)
