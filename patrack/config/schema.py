"""The typed schema of an experiment: every key, its type, unit, range and default, written down once.

`patrack.config` loads YAML into these classes; nothing else in the project has defaults of its own.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from patrack.files import safe_name
from patrack.modality import JOINT, PAIRS, modalities

__all__ = [
    "Config",
    "CropConfig",
    "DataConfig",
    "EliminationConfig",
    "Impossible",
    "MethodConfig",
    "Modality",
    "ModalityDropoutConfig",
    "ModelConfig",
    "SourceConfig",
    "TemplateUpdateConfig",
    "TestConfig",
    "TrainConfig",
]


def _known_modality(value: object, *more: str) -> object:
    """Check against the table of `patrack.modality` as it is now: a `Literal` would be the table of import time."""
    known = (*modalities(), *more)
    *others, last = map(repr, known)
    if value not in known:
        raise ValueError(f"must be {', '.join(others)} or {last}")
    return value


Modality = Annotated[str, BeforeValidator(lambda value: _known_modality(value))]
"""Of a recording."""
ExperimentModality = Annotated[str, BeforeValidator(lambda value: _known_modality(value, JOINT))]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Impossible(ValueError):
    """Values that do not go together: per mistake a key (relative to its group), its value and the broken rule."""

    def __init__(self, mistakes: list[tuple[str, object, str]]) -> None:
        self.mistakes = mistakes
        super().__init__("; ".join(f"{key} = {value!r}: {rule}" for key, value, rule in mistakes))


class Section(BaseModel):
    """A group of keys; an unknown key is an error, a value is never converted silently (but 1 serves as 1.0)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True, allow_inf_nan=False)


class MethodConfig(Section):
    """Settings of a method. Each method defines its own beside its code: see `patrack.methods`."""

    def mistakes(self, model: ModelConfig) -> list[tuple[str, object, str]]:
        """Find settings that don't go with the sizes of the network.

        Returns:
            Per mistake a key (relative to `model`), its value and the broken rule.
        """
        return []


class EliminationConfig(Section):
    """Candidate elimination: search tokens dropped inside the ViT (OSTrack, section 3.2)."""

    layers: list[int] = Field([3, 6, 9], description="block numbers, from 0")
    keep_ratio: float = Field(1.0, gt=0.0, le=1.0, description="share kept at each of these blocks; 1: no elimination")
    start_epoch: int = Field(4, ge=0, description="training keeps everything before this epoch (1-based)")
    warmup_epochs: int = Field(16, ge=0, description="epochs of cosine descent from 1 to keep_ratio")


class ModelConfig(Section):
    """Network sizes. Grids follow from template_size, search_size and patch_size."""

    embed_dim: Positive = 768
    depth: Positive = 12
    num_heads: Positive = 12
    mlp_ratio: float = Field(4.0, gt=0)
    patch_size: Positive = 16
    template_size: Positive = Field(128, description="pixels, a multiple of patch_size")
    search_size: Positive = Field(256, description="pixels, a multiple of patch_size")
    head_channels: Positive = Field(256, description="first width of the centre head; a multiple of 8")
    drop_path: Fraction = Field(0.1, description="stochastic depth of the last block, linear from 0")
    streams: Literal["both", "rgb", "x"] = Field(
        "both", description="both: two streams; rgb or x: the base model alone on that one (no adapters are built)"
    )
    templates: Literal[1, 2] = Field(
        1, description="1: of the first frame, as published; 2: another one beside it, see test.template_update"
    )
    fusion: Literal["sum", "mean", "gate"] = Field(
        "sum",
        description="how the two streams meet before the head: sum as published, or mean; gate: weighed, learnt",
    )
    modalities: list[str] = Field(
        [], description="the pairs that one model serves, e.g. [rgbt, rgbd, rgbe], with modality rgbx; []: one pair"
    )
    method: str = Field("patrack", description="what is added to the frozen network: a name in patrack.methods.METHODS")
    adapters: SerializeAsAny[MethodConfig] = Field(
        default_factory=lambda: cast(MethodConfig, {}), description="the method's settings; other methods have others"
    )
    elimination: EliminationConfig = EliminationConfig()
    base_model: str | None = Field(
        None, description="weights of the frozen base model: a file, relative to the project root, or timm:MODEL"
    )
    resize_position_embeddings: bool = Field(
        False, description="weights of another token grid: interpolate their position embeddings instead of refusing"
    )

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        from patrack.methods import METHODS  # only here, since they need PyTorch

        if method not in METHODS:
            near = difflib.get_close_matches(method, METHODS, 1)
            raise ValueError(f"must be one of {', '.join(METHODS)}" + (f"; did you mean {near[0]}?" if near else ""))
        return method

    @field_validator("adapters", mode="before")
    @classmethod
    def _of_the_method(cls, settings: object, info: ValidationInfo) -> MethodConfig:
        from patrack.methods import METHODS

        kind: type[MethodConfig] = METHODS[info.data.get("method", "patrack")].Config
        return settings if isinstance(settings, kind) else kind.model_validate(settings)

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        mistakes: list[tuple[str, object, str]] = []
        if self.embed_dim % self.num_heads:
            rule = f"must be a multiple of model.num_heads ({self.num_heads})"
            mistakes.append(("embed_dim", self.embed_dim, rule))
        for key, size in (("template_size", self.template_size), ("search_size", self.search_size)):
            if size % self.patch_size:
                mistakes.append((key, size, f"must be a multiple of model.patch_size ({self.patch_size})"))
        if self.head_channels % 8:
            mistakes.append(("head_channels", self.head_channels, "must be a multiple of 8"))
        if self.elimination.keep_ratio < 1.0:
            mistakes += self.wrong_layers("elimination.layers", self.elimination.layers)
        if unknown := [name for name in self.modalities if name not in PAIRS]:
            mistakes.append(("modalities", unknown, f"must be of {', '.join(PAIRS)}"))
        if len(set(self.modalities)) < len(self.modalities):
            mistakes.append(("modalities", self.modalities, "must name each pair once"))
        if self.streams == "both":
            mistakes += self.adapters.mistakes(self)
            from patrack.methods import METHODS

            if self.templates > 1 and not METHODS[self.method].TAKES_TWO_TEMPLATES:
                able = ", ".join(name for name, kind in METHODS.items() if kind.TAKES_TWO_TEMPLATES)
                rule = f"model.method {self.method} takes one template; these take two: {able}"
                mistakes.append(("templates", self.templates, rule))
        if mistakes:
            raise Impossible(mistakes)
        return self

    def wrong_layers(self, key: str, numbers: list[int]) -> list[tuple[str, object, str]]:
        """Find out whether a list names blocks that exist, each once; see `MethodConfig.mistakes`."""
        if len(set(numbers)) == len(numbers) and all(0 <= number < self.depth for number in numbers):
            return []
        return [
            (key, numbers, f"must be different block numbers from 0 to {self.depth - 1} (model.depth is {self.depth})")
        ]


class CropConfig(Section):
    """Side of the square crop = ceil(factor * sqrt(w * h)) of the box."""

    template_factor: float = Field(2.0, gt=0)
    search_factor: float = Field(4.0, gt=0)
    template_outline: int = Field(
        0, ge=0, description="pixels: width of the line that shows the box in the template; published: 0, none"
    )


class SourceConfig(Section):
    """One training or validation set."""

    name: str = Field(description="a data set known to lib.datasets, e.g. lasher, depthtrack, visevent, folder")
    split: str = "train"
    weight: float = Field(1.0, gt=0, description="share of the samples drawn from it, relative to the others")
    root: str | None = Field(None, description="folder of this data set; default: <data.root>/<its usual folder name>")
    exclude_attributes: list[str] = Field([], description="leave out sequences that carry one of these attributes")


class ModalityDropoutConfig(Section):
    """Training pairs of which one stream is missing; never both."""

    rgb: Fraction = Field(0.0, description="share of the pairs whose RGB is black")
    x: Fraction = Field(0.0, description="share of the pairs whose X tells nothing, see x_shows")
    one_frame: Fraction = Field(
        0.5, description="share of these in which the stream is missing in one frame only, template or search evenly"
    )
    x_shows: list[Literal["black", "constant", "noise", "copy", "frozen"]] = Field(
        ["black", "constant", "noise", "copy", "frozen"],
        min_length=1,
        description="what a missing X shows, drawn evenly (a name given twice counts twice); copy: RGB once more; "
        "frozen: in the search frame, X of the template's frame",
    )


class DataConfig(Section):
    """Sources, and how a (template, search) pair is drawn from them (OSTrack's sampler and augmentation)."""

    root: str | None = Field(
        None, description="folder that holds the data sets; --data-root and PATRACK_DATA come first"
    )
    train: list[SourceConfig] = []
    val: list[SourceConfig] = []
    balanced: bool = Field(
        False,
        description="sample i is of modality i mod their number: equal shares, which weights divide within a modality",
    )
    samples_per_epoch: Positive = 60000
    val_samples: int = Field(10000, ge=0)
    max_gap: Positive = Field(200, description="frames between template and search")
    num_workers: int = Field(8, ge=0, description="loader processes; 0: load in the training process")
    search_center_jitter: float = Field(3.0, ge=0, description="uniform, in half sides sqrt(w * h) / 2 of the box")
    search_scale_jitter: float = Field(0.25, ge=0, description="standard deviation of log(size)")
    template_center_jitter: float = Field(0.0, ge=0)
    template_scale_jitter: float = Field(0.0, ge=0)
    online_center_jitter: float = Field(
        0.0, ge=0, description="of a second template, whose box in tracking is a predicted one; see model.templates"
    )
    online_scale_jitter: float = Field(0.0, ge=0)
    stretch_jitter: float = Field(
        0.0, ge=0, description="standard deviation of log(width / height) that both crops are stretched by, alike"
    )
    region_probability: Fraction = Field(
        0.0, description="pairs that follow any part of the template's frame, in that frame, instead of its target"
    )
    gray_probability: Fraction = Field(
        0.05, description="RGB triple only; the published code's never acts (0 to repeat it)"
    )
    flip_probability: Fraction = Field(0.5, description="template and search together, in the image")
    crop_flip_probability: Fraction = Field(0.5, description="each crop on its own")
    brightness_jitter: float = Field(0.2, ge=0, lt=1, description="factor uniform in 1 +- this")
    modality_dropout: ModalityDropoutConfig = ModalityDropoutConfig()
    flip_label: Literal["published", "exact"] = Field(
        "published", description="box after flip_probability's flip: published: one pixel too far left; exact: in place"
    )
    redraw_on_error: bool = Field(
        False, description="published: true, a sample that cannot be made is replaced by another one; false: an error"
    )
    cache_frames: bool = Field(False, description="keep decoded frames in memory: for sets that fit in it")


class TrainConfig(Section):
    """Optimiser and schedule."""

    trainable: Literal["adapters", "all"] = Field(
        "adapters", description="all: base model pretraining or full fine-tuning"
    )
    frozen_blocks: int = Field(
        0,
        ge=0,
        description="with all: blocks from the first that keep their values, and so do the embeddings if any does",
    )
    total_batch_size: Positive = Field(32, description="pairs per optimiser step over all processes")
    max_batch_per_process: Positive | None = Field(
        None, description="pairs a process computes at once, by its memory; more are accumulated; null: no limit"
    )
    epochs: Positive = 60
    optimizer: Literal["adamw"] = "adamw"
    lr: float = Field(4e-4, gt=0)
    backbone_lr_scale: float = Field(1.0, gt=0, description="factor on lr for the ViT when trainable is all")
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    lr_drop_epoch: Positive = Field(48, description="step schedule: last epoch at full rate")
    lr_drop_factor: float = Field(0.1, gt=0, le=1)
    lr_drop_repeats: bool = Field(False, description="published: true, the rate drops after every lr_drop_epoch epochs")
    warmup_steps: int = Field(0, ge=0, description="linear, from 0")
    grad_clip: float = Field(0.1, ge=0, description="largest total gradient norm; 0: off")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = Field(False, description="torch.compile the network: minutes at the start, faster steps on a GPU")
    giou_weight: float = Field(2.0, ge=0)
    l1_weight: float = Field(5.0, ge=0)
    focal_weight: float = Field(1.0, ge=0)
    dense_radius: float = Field(
        0.0, ge=0, description="cells around the true centre that learn the box as well; 0: only the score map's peak"
    )
    freeze_batchnorm: bool = Field(
        True, description="head BatchNorm keeps its statistics (published); false for pretraining"
    )
    checkpoint_every: Positive = Field(10, description="epochs between kept checkpoints; the last one is always kept")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="longest time between checkpoints to resume from; 0: at the end of epochs only"
    )
    val_every: Positive = Field(10, description="epochs between validations")
    print_every: Positive = Field(200, description="steps between log lines; the first come at steps 1, 2, 5, 10, ...")


class TemplateUpdateConfig(Section):
    """A template of a later frame, after SUTrack (arXiv 2412.19138): there every 25 frames, above 0.7."""

    interval: int = Field(0, ge=0, description="frames between updates; 0: none, as published")
    threshold: Fraction = Field(0.7, description="score above which a frame gives the new template")


class RecoveryConfig(Section):
    """What a tracker of recordings does when its target can't be seen; benchmarks never use it (`patrack.recovery`)."""

    lost_below: Fraction = Field(0.0, description="score below which the box stays where it was")
    lost_after: int = Field(5, ge=1, description="such frames on end after which the target counts as lost")
    found_above: Fraction = Field(0.5, description="score from which a lost target may have been found")
    found_after: int = Field(3, ge=1, description="such frames on end after which it is found")
    tries: int = Field(2, ge=0, description="places searched in each frame besides its last one")


class ConfidenceConfig(Section):
    """From score to confidence: sigmoid(slope * logit(score) + offset), as fitted to recordings with known boxes."""

    slope: float = Field(1.0, gt=0)
    offset: float = 0.0


class TestConfig(Section):
    """Tracking."""

    window: bool = Field(True, description="Hann window on the score map")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of weights and activations; see docs/speed.md"
    )
    compile: bool = Field(False, description="torch.compile the network: a minute at the start, fewer small operations")
    clip_margin: int = Field(10, ge=0, description="pixels of a box that stay inside the image")
    size_update: float = Field(
        1.0, gt=0, le=1, description="share of the predicted size in the new box's, by the logarithm; published: 1"
    )
    size_calibration: Fraction = Field(
        0.0, description="share of the first frame's error in size that is taken off later sizes; published: 0"
    )
    template_update: TemplateUpdateConfig = TemplateUpdateConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    confidence: ConfidenceConfig = ConfidenceConfig()


class Config(Section):
    """A whole experiment."""

    name: str = Field(description="run folder and result key; the file's name unless given")
    modality: ExperimentModality
    seed: int = Field(0, ge=0, lt=2**32)
    model: ModelConfig = Field(default_factory=ModelConfig)
    crop: CropConfig = CropConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        return safe_name(name)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        mistakes: list[tuple[str, object, str]] = []
        if self.modality == "rgb" and self.model.streams != "rgb":
            mistakes.append(("model.streams", self.model.streams, "must be 'rgb' for modality rgb"))
        pairs = self.model.modalities
        if self.modality == JOINT and not pairs:
            rule = f"must name the pairs that modality {JOINT} stands for, of {', '.join(PAIRS)}"
            mistakes.append(("model.modalities", pairs, rule))
        if pairs and self.modality not in (JOINT, "rgb", *pairs):
            mistakes.append(("modality", self.modality, f"must be {JOINT} or of model.modalities: {', '.join(pairs)}"))
        if self.train.frozen_blocks > self.model.depth:
            rule = f"must be at most model.depth ({self.model.depth})"
            mistakes.append(("train.frozen_blocks", self.train.frozen_blocks, rule))
        if self.train.frozen_blocks and self.train.trainable != "all":
            rule = "needs train.trainable=all: with adapters every block is frozen anyway"
            mistakes.append(("train.frozen_blocks", self.train.frozen_blocks, rule))
        update = self.test.template_update
        if update.interval and self.model.templates == 1:
            rule = "needs model.templates=2: the template of the first frame stays, and the other one is updated"
            mistakes.append(("test.template_update.interval", update.interval, rule))
        dropout = self.data.modality_dropout
        if dropout.rgb + dropout.x > 1:
            rule = f"with data.modality_dropout.rgb ({dropout.rgb}) must add up to at most 1: never are both missing"
            mistakes.append(("data.modality_dropout.x", dropout.x, rule))
        if self.data.samples_per_epoch < self.train.total_batch_size:
            rule = f"must be at least train.total_batch_size ({self.train.total_batch_size})"
            mistakes.append(("data.samples_per_epoch", self.data.samples_per_epoch, rule))
        if mistakes:
            raise Impossible(mistakes)
        return self

    def of_modality(self, modality: str) -> Config:
        """Return the experiment for data of one modality: a joint one becomes that pair's, any other stays as it is.

        Raises:
            ValueError: the joint experiment doesn't know this modality.
        """
        if self.modality != JOINT or (modality == "rgb" and self.model.streams == "rgb"):
            return self
        if modality not in self.model.modalities:
            known = ", ".join(self.model.modalities)
            raise ValueError(f"{self.name} is a joint experiment for {known} (model.modalities), not for {modality}")
        return self.model_copy(update={"modality": modality})
