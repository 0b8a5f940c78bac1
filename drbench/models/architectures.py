"""The networks, by name; their definitions are torchvision's and timm's wherever those build them.

Names are those of the published figures. Any width between and beyond the published ones can be built.
MobileNetV2: Sandler et al., https://arxiv.org/abs/1801.04381. MobileNetV3: Howard et al.,
https://arxiv.org/abs/1905.02244. MobileNetV4: Qin et al., https://arxiv.org/abs/2404.10518. ShuffleNetV2: Ma et al.,
https://arxiv.org/abs/1807.11164. MobileFaceNet: Chen et al., https://arxiv.org/abs/1804.07573.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

from timm.models._efficientnet_builder import round_channels
from timm.models.mobilenetv3 import _gen_mobilenet_v4
from torch import nn
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf
from torchvision.models.shufflenetv2 import ShuffleNetV2

from drbench import catalog
from drbench.errors import InputError
from drbench.models import stem
from drbench.models.channels import between, divisible
from drbench.models.foreign import one_line
from drbench.models.mobilefacenet import MobileFaceNet
from drbench.models.mobilenet_v1 import MobileNetV1


@dataclass(frozen=True)
class Architecture:
    """A network of a family at a published width.

    `make(num_classes=, width=, divisor=, **args)` builds it. `strided` names the stem's modules with stride 2 in the
    order in which a small-input stem takes their stride away; `first` is the convolution that sees the image.
    `fine_divisor` is the finest rounding of channels the family can be built with (`divisor`: as published). A `sized`
    network has a layer that fits one input size: `make` takes `input_size` and `stem_stride` too. `taps` names the last
    modules before each next stride: at strides 4, 8, 16 and 32 with the published stem (drbench.models.taps).
    """

    name: str
    family: str
    width: float
    make: Callable[..., nn.Module]
    strided: tuple[str, ...]
    first: str
    divisor: int = 8
    fine_divisor: int = 1
    sized: bool = False
    taps: tuple[str, ...] = ()

    @property
    def stem_stride(self) -> int:
        """Total stride of the stem as published."""
        return 1 << len(self.strided)

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the images to which published costs belong."""
        _, height, width = catalog.MODELS[self.name].input_shape
        return height, width

    def build(
        self,
        /,
        *,
        num_classes: int = 1000,
        width: float | None = None,
        divisor: int | None = None,
        stem_stride: int | None = None,
        in_channels: int = 3,
        input_size: tuple[int, int] | None = None,
        **architecture_args: Any,
    ) -> nn.Module:
        """The plain network. None is as published; InputError names an argument that is wrong.

        `input_size`: (H, W) of the images; only a `sized` network depends on it.
        """
        counts = {
            "num_classes": num_classes,
            "divisor": divisor,
            "stem_stride": stem_stride,
            "in_channels": in_channels,
        }
        for name, value in counts.items():
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name}: got {value!r:.80}; expected a whole number from 1 on")
        if width is not None and (
            isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width < 100
        ):
            raise InputError(f"width: got {width!r:.80}; expected a multiplier above 0 and below 100")
        sizes: dict[str, Any] = {}
        if self.sized:
            sizes = {"input_size": input_size or self.input_size, "stem_stride": stem_stride or self.stem_stride}
        try:
            model = self.make(
                num_classes=num_classes,
                width=self.width if width is None else width,
                divisor=self.divisor if divisor is None else divisor,
                **sizes,
                **architecture_args,
            )
        except InputError:
            raise
        except Exception as error:  # whatever torchvision and timm raise for an argument
            raise InputError(
                f"architecture_args {dict(architecture_args)!r:.200} of {self.name}: {one_line(error)}"
            ) from error
        if stem_stride is not None:
            stem.set_stride(model, self.strided, stem_stride)
        stem.set_channels(model, self.first, in_channels)
        return model


def _mobilenet_v1(num_classes: int, width: float, divisor: int, *, dropout: float = 0.001) -> nn.Module:
    return MobileNetV1(num_classes, width, divisor, dropout)


def _mobilenet_v2(num_classes: int, width: float, divisor: int, *, dropout: float = 0.2) -> nn.Module:
    model: nn.Module = MobileNetV2(num_classes, width, round_nearest=divisor, dropout=dropout)
    return model


def _mobilenet_v3(size: str, num_classes: int, width: float, divisor: int, *, dropout: float = 0.2) -> nn.Module:
    """As the paper's own code scales it, which torchvision's width_mult does not follow below width 1.

    There the inner channels are a factor of the block's rounded input, and the layer after the pooling never shrinks.
    """
    settings, last = _mobilenet_v3_conf(f"mobilenet_v3_{size}", width_mult=1.0)
    scaled = []
    for setting in settings:
        block = copy.copy(setting)
        block.input_channels = divisible(setting.input_channels * width, divisor)
        block.out_channels = divisible(setting.out_channels * width, divisor)
        ratio = setting.expanded_channels / setting.input_channels
        block.expanded_channels = divisible(block.input_channels * ratio, divisor)
        scaled.append(block)
    last_channels = divisible(last * max(1.0, width), divisor)
    model: nn.Module = MobileNetV3(scaled, last_channels, num_classes, dropout=dropout)
    return model


_TIMM_ARGUMENTS = ("drop_rate", "drop_path_rate")
"""Of timm's builder, those that may be given: others (`pretrained`, `pretrained_cfg`) open files and addresses, and a
model file's header is no one to trust with that.
"""


def _mobilenet_v4(size: str, num_classes: int, width: float, divisor: int, **args: Any) -> nn.Module:
    for name, value in args.items():
        if name not in _TIMM_ARGUMENTS:
            raise InputError(f"architecture_args: got {name!r:.80}; expected {', '.join(_TIMM_ARGUMENTS)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise InputError(f"architecture_args: {name}: got {value!r:.80}; expected a share from 0 to below 1")
    # timm rounds to 8 whatever it is asked for, so its builder runs with a rounding of our divisor in its place
    generate = FunctionType(
        _gen_mobilenet_v4.__code__,
        {**_gen_mobilenet_v4.__globals__, "round_channels": partial(round_channels, divisor=divisor)},
        argdefs=_gen_mobilenet_v4.__defaults__,
    )
    model: nn.Module = generate(f"mobilenetv4_conv_{size}", width, pretrained=False, num_classes=num_classes, **args)
    return model


_SHUFFLENET_CHANNELS = ((0.5, 48), (1.0, 116), (1.5, 176), (2.0, 244))
_SHUFFLENET_LAST = ((1.5, 1024), (2.0, 2048))


def _shufflenet_v2(num_classes: int, width: float, divisor: int) -> nn.Module:
    """Channels of other widths lie on the line between the published ones, which follow no multiplier."""
    if divisor % 2:
        raise InputError(f"divisor: got {divisor}, ShuffleNetV2 splits its channels in two; expected an even number")
    second = between(_SHUFFLENET_CHANNELS, width)
    stages = [max(divisor, round(factor * second / divisor) * divisor) for factor in (1, 2, 4)]
    last = 1024 if width <= 1.5 else round(between(_SHUFFLENET_LAST, width))
    model: nn.Module = ShuffleNetV2([4, 8, 4], [24, *stages, last], num_classes)
    return model


def _mobilefacenet(
    num_classes: int, width: float, divisor: int, *, input_size: tuple[int, int], stem_stride: int
) -> nn.Module:
    return MobileFaceNet(num_classes, width, divisor, input_size, stem_stride)


_MOBILENET: dict[str, Any] = {"strided": ("features.0.0",), "first": "features.0.0"}
_SHUFFLENET: dict[str, Any] = {
    "strided": ("maxpool", "conv1.0"),
    "first": "conv1.0",
    "divisor": 2,
    "fine_divisor": 2,
    "taps": ("maxpool", "stage2", "stage3", "conv5"),
}
_TIMM: dict[str, Any] = {
    "strided": ("conv_stem",),
    "first": "conv_stem",
    "taps": ("blocks.0", "blocks.1", "blocks.2", "blocks.4"),
}


def _features(*places: int) -> dict[str, Any]:
    """The taps of a network whose blocks are in `features`."""
    return {"taps": tuple(f"features.{place}" for place in places)}


_FAMILIES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "mobilenet_v1": (_mobilenet_v1, {**_MOBILENET, **_features(3, 5, 11, 13)}),
    "mobilenet_v2": (_mobilenet_v2, {**_MOBILENET, **_features(3, 6, 13, 18)}),
    "mobilenet_v3_small": (partial(_mobilenet_v3, "small"), {**_MOBILENET, **_features(1, 3, 8, 12)}),
    "mobilenet_v3_large": (partial(_mobilenet_v3, "large"), {**_MOBILENET, **_features(3, 6, 12, 16)}),
    **{f"mobilenetv4_conv_{size}": (partial(_mobilenet_v4, size), _TIMM) for size in ("small", "medium", "large")},
    "shufflenet_v2": (_shufflenet_v2, _SHUFFLENET),
    "mobilefacenet": (_mobilefacenet, {**_MOBILENET, **_features(6, 13, 17), "sized": True}),
}
"""Family -> how it is built, and what its networks share. Names and widths are in `drbench.catalog`."""


def _architecture(model: catalog.Model) -> Architecture:
    make, shared = _FAMILIES[model.family]
    return Architecture(model.name, model.family, model.width, make, **shared)


ARCHITECTURES: dict[str, Architecture] = {name: _architecture(model) for name, model in catalog.MODELS.items()}
