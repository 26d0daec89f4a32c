"""Kernel, strides, dilations and pads of operators that slide a window over the spatial axes (axis 2 and later)."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.gradient.core.registry import Node


@dataclass(frozen=True)
class Windows:
    """One number per spatial axis; `pads` holds all beginnings, then all ends."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]

    @property
    def extents(self) -> list[int]:
        """How many input positions a window spans along each axis."""
        return [(size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)]

    @property
    def n_axes(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def is_strided(self) -> bool:
        """Whether windows move by more than one position."""
        return any(stride != 1 for stride in self.strides)

    @property
    def tiles(self) -> bool:
        """Whether windows neither overlap, leave gaps, nor cross the border."""
        return self.kernel == self.strides and not any(self.pads) and set(self.dilations) == {1}

    def begin(self, axis: int) -> int:
        """Pad before the first position of a spatial axis."""
        return self.pads[axis]

    def end(self, axis: int) -> int:
        """Pad after the last position of a spatial axis."""
        return self.pads[self.n_axes + axis]


def windows(at: Node, kernel: list[int] | None = None) -> Windows:
    """The windows of a Conv or a pooling node; `kernel` is the kernel of the weight, for nodes that may omit it."""
    sizes = at.integers("kernel_shape") or kernel
    if sizes is None:
        raise at.error("the shape of its kernel is unknown; set kernel_shape")
    n_axes = len(sizes)
    strides = at.integers("strides") or [1] * n_axes
    dilations = at.integers("dilations") or [1] * n_axes
    plain = Windows(sizes, strides, dilations, at.integers("pads") or [0] * (2 * n_axes))
    mode = at.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        return plain
    if mode == "VALID":
        return Windows(sizes, strides, dilations, [0] * (2 * n_axes))
    totals = [_same_padding(at, axis, plain) for axis in range(n_axes)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    begins, ends = (small, large) if mode == "SAME_UPPER" else (large, small)
    return Windows(sizes, strides, dilations, begins + ends)


def _same_padding(at: Node, axis: int, plain: Windows) -> int:
    """The padding that gives ceil(size / stride) windows along an axis."""
    stride, extent = plain.strides[axis], plain.extents[axis]
    if stride == 1:
        return extent - 1
    size = at.size(2 + axis)
    return max(0, (-(-size // stride) - 1) * stride + extent - size)


def kernel_of(at: Node, weight: int = 1) -> list[int]:
    """The spatial sizes of a convolution's weight."""
    sizes = at.shape(weight)[2:]
    if not all(isinstance(size, int) for size in sizes):
        raise at.error("the shape of its weight is unknown; export it with a fixed shape")
    return [int(size) for size in sizes if size is not None]
