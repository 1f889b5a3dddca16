"""MODEL: the architecture and the weights it starts from."""

from typing import Literal

from swin_train.config.node import Section, opt


class Architecture(Section):
    """What all families have in common."""

    PATCH_SIZE: int = opt(4, "Side of a patch, in pixels.", ge=1)
    IN_CHANS: int = opt(3, "Channels of the input image.", ge=1)
    EMBED_DIM: int = opt(96, "Channels of the first stage; each further stage has twice as many.", ge=1)
    DEPTHS: tuple[int, ...] = opt((2, 2, 6, 2), "Blocks of each stage.", ge=1)
    NUM_HEADS: tuple[int, ...] = opt((3, 6, 12, 24), "Attention heads of each stage.", ge=1)
    WINDOW_SIZE: int = opt(7, "Side of a window, in patches.", ge=1)
    MLP_RATIO: float = opt(4.0, "Hidden channels of an MLP, as a multiple of the stage's channels.", gt=0)
    APE: bool = opt(False, "Add a learned absolute position embedding to the patches.")
    PATCH_NORM: bool = opt(True, "Normalise the patches after their embedding.")


class Swin(Architecture):
    """Swin Transformer (Liu et al. 2021), MODEL.TYPE swin."""

    QKV_BIAS: bool = opt(True, "Give query, key and value a bias.")
    QK_SCALE: float | None = opt(None, "Factor on query x key; null is 1 / sqrt(head channels).", gt=0)


class SwinV2(Architecture):
    """Swin Transformer V2 (Liu et al. 2022), MODEL.TYPE swinv2."""

    QKV_BIAS: bool = opt(True, "Give query and value a bias; keys never have one.")
    PRETRAINED_WINDOW_SIZES: tuple[int, ...] = opt(
        (0, 0, 0, 0),
        "Window of each stage in pre-training, to scale coordinates by; 0 is this model's own. Zeros alone"
        " fit any number of stages.",
        ge=0,
    )


class SwinMlp(Architecture):
    """Swin-MLP: grouped linear layers in place of attention, MODEL.TYPE swin_mlp."""


class SwinMoe(Architecture):
    """Swin with mixture-of-experts MLPs, MODEL.TYPE swin_moe."""

    QKV_BIAS: bool = opt(True, "Give query, key and value a bias.")
    QK_SCALE: float | None = opt(None, "Factor on query x key; null is 1 / sqrt(head channels).", gt=0)
    MLP_FC2_BIAS: bool = opt(True, "Give the second layer of each MLP a bias.")
    INIT_STD: float = opt(0.02, "Standard deviation of the initial linear weights.", gt=0)
    PRETRAINED_WINDOW_SIZES: tuple[int, ...] = opt(
        (0, 0, 0, 0),
        "Window of each stage in pre-training, to scale coordinates by; 0 is this model's own. Zeros alone"
        " fit any number of stages.",
        ge=0,
    )
    MOE_BLOCKS: tuple[tuple[int, ...], ...] = opt(
        ((-1,), (-1,), (-1,), (-1,)), "Indices of the blocks with experts, per stage; [-1] is none.", ge=-1
    )
    NUM_LOCAL_EXPERTS: int = opt(1, "Experts per GPU; -k spreads one expert over k GPUs.")
    TOP_VALUE: int = opt(1, "Experts that each token is sent to.", ge=1)
    CAPACITY_FACTOR: float = opt(1.25, "Room of an expert, as a multiple of an even share of the tokens.")
    COSINE_ROUTER: bool = opt(False, "Route by cosine similarity instead of a linear layer.")
    NORMALIZE_GATE: bool = opt(False, "Let the gates of a token's experts sum to 1.")
    USE_BPR: bool = opt(True, "Batch prioritised routing: the most certain tokens choose first.")
    IS_GSHARD_LOSS: bool = opt(False, "Use GShard's balance loss instead of the importance and load loss.")
    GATE_NOISE: float = opt(1.0, "Strength of the noise on the router in training.", ge=0)
    COSINE_ROUTER_DIM: int = opt(256, "Channels that the cosine router compares in.", ge=1)
    COSINE_ROUTER_INIT_T: float = opt(0.5, "First temperature of the cosine router.", gt=0)
    MOE_DROP: float = opt(0.0, "Dropout in the experts.", ge=0, lt=1)
    AUX_LOSS_WEIGHT: float = opt(0.01, "Weight of the balance loss.", ge=0)


class NormTarget(Section):
    """What SimMIM predicts."""

    ENABLE: bool = opt(False, "Predict pixels normalised by their neighbourhood.")
    PATCH_SIZE: int = opt(47, "Side of that neighbourhood, in pixels, an odd number.", ge=1)


class SimMim(Section):
    """Masked image modelling (Xie et al. 2022)."""

    NORM_TARGET: NormTarget


class Model(Section):
    """The architecture and the weights it starts from."""

    TYPE: Literal["swin", "swinv2", "swin_moe", "swin_mlp"] = opt(
        "swin", "Family; it selects the section SWIN, SWINV2, SWIN_MOE or SWIN_MLP."
    )
    NAME: str = opt(
        "swin_tiny_patch4_window7_224",
        "Name of the model; the output folder is OUTPUT/NAME/TAG.",
        any_text=True,
    )
    PRETRAINED: str = opt(
        "",
        "Weights to fine-tune, a file or a URL: adapted to this model's window, resolution and classes.",
        any_text=True,
    )
    RESUME: str = opt(
        "", "Checkpoint or URL to evaluate, or checkpoint to go on training from.", any_text=True
    )
    NUM_CLASSES: int = opt(
        1000, "Classes to tell apart; unless given it is taken from the data, else it must agree.", ge=0
    )
    DROP_RATE: float = opt(0.0, "Dropout on embeddings, attention output and MLPs.", ge=0, lt=1)
    DROP_PATH_RATE: float = opt(
        0.1, "Stochastic depth of the last block; it grows linearly from 0.", ge=0, lt=1
    )
    DROP_PATH_MODE: Literal["mask", "kept"] = opt(
        "mask",
        "How stochastic depth drops: mask lets each sample's own draw decide; kept computes each block on an exact"
        " share of the batch only, which is faster, but what is dropped depends on the batch, and so on the number of"
        " processes.",
    )
    PADDING: Literal["reference", "timm", "masked"] = opt(
        "reference",
        "What stands beside the edge of a map that is no multiple of the window: reference pads with zeros after"
        " the norm, then rolls, as the authors' detection code and torchvision do; timm rolls, then pads; masked"
        " never attends to padding.",
    )
    ATTENTION: Literal["auto", "triton", "sdpa", "reference"] = opt(
        "auto",
        "How window attention is computed: triton is one fused kernel, for NVIDIA GPUs from compute capability 8.0;"
        " sdpa is PyTorch's scaled_dot_product_attention on windows that are cut out first; reference spells it out;"
        " auto is the fastest that can run, and the log says which and why.",
    )
    LABEL_SMOOTHING: float = opt(0.1, "Share of the target spread evenly over all classes.", ge=0, lt=1)
    SWIN: Swin
    SWINV2: SwinV2
    SWIN_MOE: SwinMoe
    SWIN_MLP: SwinMlp
    SIMMIM: SimMim

    @property
    def selected(self) -> Swin | SwinV2 | SwinMoe | SwinMlp:
        """The section of the architecture that TYPE names."""
        selected: Swin | SwinV2 | SwinMoe | SwinMlp = self[self.TYPE.upper()]
        return selected

    @property
    def selected_key(self) -> str:
        """The key of that section: "MODEL.SWIN"."""
        return f"MODEL.{self.TYPE.upper()}"
