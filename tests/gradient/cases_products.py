"""Cases for convolutions and matrix products."""

from __future__ import annotations

from tests.gradient.harness import Case, Torch, normal

PLANE = (2, 3, 7, 8)


def _conv(
    name: str, attributes: str, x: tuple[int, ...], w: tuple[int, ...], torch: Torch | None, since: int = 9
) -> Case:
    return Case(f"Conv{name}", f"y = Conv <{attributes}> (x, w)", x, {"w": normal(*w)}, since, torch=torch)


CONVOLUTIONS = [
    _conv("", "pads=[1,1,1,1]", PLANE, (4, 3, 3, 3), lambda t, x, c: t.conv2d(x, c["w"], padding=1), 7),
    Case("Conv-bias", "y = Conv(x, w, b)", PLANE, {"w": normal(4, 3, 3, 2), "b": normal(4)}),
    _conv("-wide", "pads=[1,1,1,1]", (1, 16, 5, 5), (32, 16, 3, 3), lambda t, x, c: t.conv2d(x, c["w"], padding=1)),
    _conv(
        "-wide-groups",
        "pads=[2,1,2,1], group=2, dilations=[2,1]",
        (1, 32, 6, 5),
        (32, 16, 3, 3),
        lambda t, x, c: t.conv2d(x, c["w"], padding=(2, 1), groups=2, dilation=(2, 1)),
    ),
    _conv("-pointwise", "kernel_shape=[1,1]", PLANE, (4, 3, 1, 1), lambda t, x, c: t.conv2d(x, c["w"])),
    _conv("-strides", "strides=[2,3]", PLANE, (4, 3, 3, 2), lambda t, x, c: t.conv2d(x, c["w"], stride=(2, 3))),
    _conv("-strided-pointwise", "strides=[2,2]", PLANE, (4, 3, 1, 1), lambda t, x, c: t.conv2d(x, c["w"], stride=2)),
    _conv(
        "-strides-pads",
        "strides=[2,2], pads=[0,2,1,1]",
        PLANE,
        (4, 3, 3, 2),
        lambda t, x, c: t.conv2d(t.nn.functional.pad(x, (2, 1, 0, 1)), c["w"], stride=2),
    ),
    _conv(
        "-dilations",
        "dilations=[2,1], pads=[1,0,0,1]",
        PLANE,
        (4, 3, 2, 3),
        lambda t, x, c: t.conv2d(t.nn.functional.pad(x, (0, 1, 1, 0)), c["w"], dilation=(2, 1)),
    ),
    _conv(
        "-far-pads",
        "pads=[3,2,3,4]",
        PLANE,
        (4, 3, 2, 3),
        lambda t, x, c: t.conv2d(t.nn.functional.pad(x, (2, 4, 3, 3)), c["w"]),
    ),
    _conv(
        "-all",
        "strides=[3,2], dilations=[2,2], pads=[2,1,0,3], group=2",
        (2, 4, 9, 8),
        (6, 2, 3, 2),
        lambda t, x, c: t.conv2d(t.nn.functional.pad(x, (1, 3, 2, 0)), c["w"], stride=(3, 2), dilation=2, groups=2),
    ),
    _conv(
        "-depthwise",
        "group=3, pads=[1,1,1,1]",
        PLANE,
        (6, 1, 3, 3),
        lambda t, x, c: t.conv2d(x, c["w"], padding=1, groups=3),
    ),
    _conv(
        "-1d", "strides=[2], pads=[1,1]", (2, 3, 9), (4, 3, 3), lambda t, x, c: t.conv1d(x, c["w"], stride=2, padding=1)
    ),
    _conv(
        "-3d",
        "strides=[1,2,1], pads=[1,0,1,1,0,1]",
        (1, 2, 4, 5, 4),
        (3, 2, 3, 2, 3),
        lambda t, x, c: t.conv3d(x, c["w"], stride=(1, 2, 1), padding=(1, 0, 1)),
    ),
    _conv("-same-upper", 'auto_pad="SAME_UPPER", strides=[2,3]', PLANE, (4, 3, 4, 3), None),
    _conv("-same-lower", 'auto_pad="SAME_LOWER", strides=[2,1]', PLANE, (4, 3, 4, 2), None),
    _conv(
        "-valid",
        'auto_pad="VALID", strides=[2,1]',
        PLANE,
        (4, 3, 2, 3),
        lambda t, x, c: t.conv2d(x, c["w"], stride=(2, 1)),
    ),
]


def _up(name: str, attributes: str, x: tuple[int, ...], w: tuple[int, ...], torch: Torch | None) -> Case:
    return Case(f"ConvTranspose{name}", f"y = ConvTranspose <{attributes}> (x, w)", x, {"w": normal(*w)}, torch=torch)


TRANSPOSED = [
    Case(
        "ConvTranspose",
        "y = ConvTranspose(x, w, b)",
        (2, 3, 4, 5),
        {"w": normal(3, 4, 3, 2), "b": normal(4)},
        since=7,
        torch=lambda t, x, c: t.conv_transpose2d(x, c["w"], c["b"]),
    ),
    _up(
        "-strides",
        "strides=[2,3], pads=[1,0,1,0]",
        (2, 3, 4, 5),
        (3, 4, 3, 2),
        lambda t, x, c: t.conv_transpose2d(x, c["w"], stride=(2, 3), padding=(1, 0)),
    ),
    _up(
        "-output-padding",
        "strides=[2,3], output_padding=[1,2]",
        (2, 3, 4, 5),
        (3, 4, 3, 3),
        lambda t, x, c: t.conv_transpose2d(x, c["w"], stride=(2, 3), output_padding=(1, 2)),
    ),
    _up(
        "-dilations-groups",
        "dilations=[2,1], group=2",
        (2, 4, 4, 5),
        (4, 3, 2, 3),
        lambda t, x, c: t.conv_transpose2d(x, c["w"], dilation=(2, 1), groups=2),
    ),
    _up("-output-shape", "strides=[2,2], output_shape=[8,9]", (2, 3, 4, 5), (3, 4, 3, 2), None),
    _up("-output-shape-wider", "strides=[3,2], output_shape=[9,9]", (2, 3, 4, 5), (3, 4, 2, 2), None),
    _up(
        "-output-shape-upper",
        'strides=[2,2], output_shape=[8,9], auto_pad="SAME_UPPER"',
        (2, 3, 4, 5),
        (3, 4, 3, 2),
        None,
    ),
    _up("-same-upper", 'strides=[2,2], auto_pad="SAME_UPPER"', (2, 3, 4, 5), (3, 4, 3, 3), None),
    _up("-same-lower", 'strides=[2,2], auto_pad="SAME_LOWER"', (2, 3, 4, 5), (3, 4, 3, 3), None),
    _up(
        "-1d",
        "strides=[2], pads=[1,0]",
        (2, 3, 5),
        (3, 2, 3),
        lambda t, x, c: t.conv_transpose1d(x, c["w"], stride=2)[:, :, 1:],
    ),
    _up(
        "-3d",
        "strides=[2,1,2]",
        (1, 2, 3, 3, 2),
        (2, 3, 2, 3, 2),
        lambda t, x, c: t.conv_transpose3d(x, c["w"], stride=(2, 1, 2)),
    ),
]

PRODUCTS = [
    Case("Gemm", "y = Gemm(x, b, c)", (3, 4), {"b": normal(4, 5), "c": normal(3, 5)}, since=7),
    *(
        Case(
            f"Gemm-{side}-{a}{b}",
            f"y = Gemm <alpha=0.7, beta=1.3, transA={a}, transB={b}> ({inputs}, k)",
            shape,
            {"b": weight, "k": normal(5)},
        )
        for a in (0, 1)
        for b in (0, 1)
        for side, inputs, shape, weight in (
            ("left", "x, b", (4, 3) if a else (3, 4), normal(*((5, 4) if b else (4, 5)))),
            ("right", "b, x", (5, 4) if b else (4, 5), normal(*((4, 3) if a else (3, 4)))),
        )
    ),
    Case("Gemm-bias", "y = Gemm <beta=0.3> (a, b, x)", (5,), {"a": normal(3, 4), "b": normal(4, 5)}),
    Case("Gemm-bias-column", "y = Gemm <beta=0.3> (a, b, x)", (3, 1), {"a": normal(3, 4), "b": normal(4, 5)}),
    Case("Gemm-without-bias", "y = Gemm <alpha=0.3, transB=1> (x, b)", (3, 4), {"b": normal(5, 4)}, since=11),
    Case("Gemm-both", "y = Gemm <alpha=0.3, transA=1> (x, x, x)", (4, 4)),
    Case("MatMul", "y = MatMul(x, b)", (3, 4), {"b": normal(4, 5)}, since=7, torch=lambda _, x, c: x @ c["b"]),
    *(
        Case(f"MatMul-{name}", f"y = MatMul({inputs})", x, {"b": normal(*b)})
        for name, inputs, x, b in (
            ("right", "b, x", (4, 5), (3, 4)),
            ("batched", "x, b", (2, 3, 4), (2, 4, 5)),
            ("batch-left", "x, b", (2, 3, 4), (4, 5)),
            ("batch-right", "x, b", (3, 4), (2, 4, 5)),
            ("broadcast", "x, b", (2, 1, 3, 4), (3, 4, 5)),
            ("broadcast-right", "b, x", (3, 4, 5), (2, 1, 3, 4)),
            ("vector-left", "x, b", (4,), (4, 5)),
            ("vector-left-batch", "x, b", (4,), (2, 3, 4, 5)),
            ("by-vector", "x, b", (2, 3, 4), (4,)),
            ("vector-right", "b, x", (4,), (3, 4)),
            ("vector-right-batch", "b, x", (4,), (2, 6, 3, 4)),
            ("vector-by-matrices", "b, x", (2, 4, 5), (4,)),
            ("vectors", "x, b", (4,), (4,)),
            ("vectors-right", "b, x", (4,), (4,)),
        )
    ),
    Case("MatMul-both", "z = Transpose <perm=[0,2,1]> (x) y = MatMul(x, z)"),
    Case("MatMul-itself", "y = MatMul(x, x)", (4,)),
]

CASES = [*CONVOLUTIONS, *TRANSPOSED, *PRODUCTS]
