"""Cases for pooling and resampling."""

from __future__ import annotations

import numpy as np

from tests.gradient.harness import Case, Torch, ints

PLANE = (2, 3, 7, 8)


def _max(
    name: str,
    attributes: str,
    x: tuple[int, ...] = PLANE,
    since: int = 9,
    torch: Torch | None = None,
    *,
    reference: bool = True,
) -> Case:
    return Case(f"MaxPool{name}", f"y = MaxPool <{attributes}> (x)", x, since=since, torch=torch, reference=reference)


MAX_POOLS = [
    _max("", "kernel_shape=[2,2], strides=[2,2]", (2, 3, 6, 8), 7, lambda t, x, _: t.max_pool2d(x, 2)),
    _max("-remainder", "kernel_shape=[2,2], strides=[2,2]", PLANE, 7, lambda t, x, _: t.max_pool2d(x, 2)),
    _max("-overlapping", "kernel_shape=[3,3], strides=[2,2]", torch=lambda t, x, _: t.max_pool2d(x, 3, 2)),
    _max(
        "-overlapping-pads",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
        torch=lambda t, x, _: t.max_pool2d(x, 3, 2, 1),
    ),
    _max(
        "-dense",
        "kernel_shape=[3,2], pads=[1,0,1,0]",
        reference=False,
        torch=lambda t, x, _: t.max_pool2d(x, (3, 2), 1, (1, 0)),
    ),
    _max("-gaps", "kernel_shape=[2,2], strides=[3,3]", torch=lambda t, x, _: t.max_pool2d(x, 2, 3)),
    _max(
        "-dilations",
        "kernel_shape=[2,3], strides=[2,1], dilations=[2,2]",
        since=10,
        torch=lambda t, x, _: t.max_pool2d(x, (2, 3), (2, 1), 0, 2),
    ),
    _max(
        "-ceil",
        "kernel_shape=[3,3], strides=[2,2], ceil_mode=1",
        (2, 3, 6, 8),
        since=10,
        torch=lambda t, x, _: t.max_pool2d(x, 3, 2, ceil_mode=True),
    ),
    _max("-uneven-pads", "kernel_shape=[2,2], strides=[2,2], pads=[0,1,1,0]"),
    _max("-wide-pads", "kernel_shape=[2,2], pads=[1,1,1,1]", torch=lambda t, x, _: t.max_pool2d(x, 2, 1, 1)),
    _max("-same-upper", 'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"'),
    _max("-same-lower", 'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_LOWER"'),
    _max("-1d", "kernel_shape=[3], strides=[2]", (2, 3, 9), torch=lambda t, x, _: t.max_pool1d(x, 3, 2)),
    _max(
        "-3d",
        "kernel_shape=[2,2,2], strides=[1,2,2]",
        (1, 2, 4, 4, 4),
        torch=lambda t, x, _: t.max_pool3d(x, 2, (1, 2, 2)),
    ),
    _max(
        "-3d-tiles", "kernel_shape=[2,2,2], strides=[2,2,2]", (1, 2, 4, 4, 4), torch=lambda t, x, _: t.max_pool3d(x, 2)
    ),
    Case("MaxPool-indices", "y, i = MaxPool <kernel_shape=[3,3], strides=[2,2]> (x)", PLANE, outputs=("y",)),
]


def _average(
    name: str, attributes: str, x: tuple[int, ...] = PLANE, since: int = 9, torch: Torch | None = None
) -> Case:
    return Case(f"AveragePool{name}", f"y = AveragePool <{attributes}> (x)", x, since=since, torch=torch)


AVERAGE_POOLS = [
    _average(
        "", "kernel_shape=[2,2], strides=[2,2]", (2, 3, 6, 8), 7, lambda t, x, _: t.nn.functional.avg_pool2d(x, 2)
    ),
    _average(
        "-remainder", "kernel_shape=[2,2], strides=[2,2]", PLANE, torch=lambda t, x, _: t.nn.functional.avg_pool2d(x, 2)
    ),
    _average("-overlapping", "kernel_shape=[3,2]", torch=lambda t, x, _: t.nn.functional.avg_pool2d(x, (3, 2), 1)),
    _average(
        "-pads",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
        torch=lambda t, x, _: t.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    _average(
        "-counted-pads",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1",
        torch=lambda t, x, _: t.nn.functional.avg_pool2d(x, 3, 2, 1),
    ),
    _average(
        "-ceil",
        "kernel_shape=[3,3], strides=[2,2], ceil_mode=1",
        (2, 3, 6, 8),
        10,
        lambda t, x, _: t.nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True),
    ),
    _average(
        "-ceil-counted",
        "kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[1,1,1,1], count_include_pad=1",
        (2, 3, 6, 8),
        19,
        lambda t, x, _: t.nn.functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    ),
    _average("-dilations", "kernel_shape=[2,2], dilations=[2,3]", since=19),
    _average("-same-upper", 'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"'),
    _average("-same-lower", 'kernel_shape=[2,2], auto_pad="SAME_LOWER"'),
    _average(
        "-1d", "kernel_shape=[3], strides=[2]", (2, 3, 9), torch=lambda t, x, _: t.nn.functional.avg_pool1d(x, 3, 2)
    ),
    _average(
        "-3d",
        "kernel_shape=[2,2,2], strides=[1,2,2]",
        (1, 2, 4, 4, 4),
        torch=lambda t, x, _: t.nn.functional.avg_pool3d(x, 2, (1, 2, 2)),
    ),
]

SCALES = np.asarray([1, 1, 2, 1.5], np.float32)
DOUBLED = np.asarray([1, 1, 2, 2], np.float32)
SMALLER = np.asarray([1, 1, 0.6, 0.5], np.float32)
NONE = np.zeros(0, np.float32)
IMAGE = (2, 2, 5, 4)


def _resize(
    name: str,
    attributes: str,
    scales: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = SCALES,
    since: int = 11,
    torch: Torch | None = None,
) -> Case:
    return Case(
        f"Resize-{name}",
        f"y = Resize <{attributes}> (x, roi, s)",
        IMAGE,
        {"s": scales, "roi": NONE},
        since,
        torch=torch,
    )


RESAMPLING = [
    Case("Resize", "y = Resize(x, s)", IMAGE, {"s": DOUBLED}, since=10, until=10),
    Case("Resize-old-linear", 'y = Resize <mode="linear"> (x, s)', IMAGE, {"s": DOUBLED}, since=10, until=10),
    _resize("nearest", 'mode="nearest"'),
    _resize("smaller", 'mode="nearest"', SMALLER),
    _resize(
        "floor",
        'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
        DOUBLED,
        torch=lambda t, x, _: t.nn.functional.interpolate(x, scale_factor=2),
    ),
    _resize(
        "linear",
        'mode="linear"',
        DOUBLED,
        torch=lambda t, x, _: t.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    ),
    _resize("linear-uneven", 'mode="linear"'),
    _resize("linear-smaller", 'mode="linear"', SMALLER),
    _resize(
        "corners",
        'mode="linear", coordinate_transformation_mode="align_corners"',
        DOUBLED,
        torch=lambda t, x, _: t.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    ),
    _resize("asymmetric", 'mode="linear", coordinate_transformation_mode="asymmetric"'),
    _resize("pytorch", 'mode="linear", coordinate_transformation_mode="pytorch_half_pixel"'),
    _resize("cubic", 'mode="cubic"', DOUBLED),
    Case(
        "Resize-sizes",
        'y = Resize <mode="linear"> (x, roi, s, n)',
        IMAGE,
        {"n": ints(2, 2, 7, 3), "s": NONE, "roi": NONE},
        since=11,
        torch=lambda t, x, _: t.nn.functional.interpolate(x, (7, 3), mode="bilinear", align_corners=False),
    ),
    Case("Resize-sizes-alone", 'y = Resize <mode="nearest"> (x, , , n)', IMAGE, {"n": ints(2, 2, 7, 3)}, since=13),
    Case("Resize-axes", 'y = Resize <mode="linear", axes=[3,2]> (x, , s)', IMAGE, {"s": SCALES[:1:-1]}, since=18),
    Case(
        "Resize-axes-sizes",
        'y = Resize <mode="linear", axes=[-1,2]> (x, , , n)',
        IMAGE,
        {"n": ints(7, 3)},
        since=18,
        reference=False,
    ),
    Case("Resize-antialias", 'y = Resize <mode="linear", antialias=1> (x, , s)', IMAGE, {"s": SMALLER}, since=18),
    Case("Resize-1d", 'y = Resize <mode="linear"> (x, roi, s)', (2, 3, 4), {"s": SCALES[1:], "roi": NONE}, since=11),
    Case(
        "Resize-3d",
        'y = Resize <mode="nearest"> (x, roi, s)',
        (1, 2, 3, 2, 2),
        {"s": np.asarray([1, 1, 2, 2, 3], np.float32), "roi": NONE},
        since=11,
    ),
    Case(
        "Upsample",
        'y = Upsample <mode="nearest"> (x, s)',
        IMAGE,
        {"s": DOUBLED},
        since=9,
        until=9,
        torch=lambda t, x, _: t.nn.functional.interpolate(x, scale_factor=2),
    ),
    Case(
        "Upsample-attribute", 'y = Upsample <mode="nearest", scales=[1.0, 1.0, 2.0, 3.0]> (x)', IMAGE, since=7, until=8
    ),
    Case("Upsample-linear", 'y = Upsample <mode="linear"> (x, s)', IMAGE, {"s": DOUBLED}, since=9, until=9),
]

CASES = [*MAX_POOLS, *AVERAGE_POOLS, *RESAMPLING]
