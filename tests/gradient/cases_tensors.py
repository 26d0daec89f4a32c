"""Cases for normalizations and for operators that move numbers about."""

from __future__ import annotations

import numpy as np

from tests.gradient.harness import Case, apart, ints, normal

STATISTICS = {"s": normal(3), "b": normal(3, seed=1), "m": normal(3, seed=2), "v": apart((3,), (0.5, 2))}
PER_CHANNEL = {"s": normal(3), "b": normal(3, seed=1)}

NORMALIZATIONS = [
    Case(
        "BatchNormalization",
        "y = BatchNormalization <epsilon=0.01> (x, s, b, m, v)",
        (2, 3, 4, 4),
        STATISTICS,
        since=7,
        torch=lambda t, x, c: t.nn.functional.batch_norm(x, c["m"], c["v"], c["s"], c["b"], eps=0.01),
    ),
    Case("BatchNormalization-flat", "y = BatchNormalization (x, s, b, m, v)", (2, 3), STATISTICS),
    Case("BatchNormalization-3d", "y = BatchNormalization (x, s, b, m, v)", (2, 3, 2, 2, 2), STATISTICS),
    Case(
        "InstanceNormalization",
        "y = InstanceNormalization <epsilon=0.01> (x, s, b)",
        (2, 3, 4, 4),
        PER_CHANNEL,
        since=7,
        torch=lambda t, x, c: t.nn.functional.instance_norm(x, weight=c["s"], bias=c["b"], eps=0.01),
    ),
    Case("InstanceNormalization-1d", "y = InstanceNormalization (x, s, b)", (2, 3, 5), PER_CHANNEL),
    Case(
        "LayerNormalization",
        "y = LayerNormalization <epsilon=0.01> (x, s, b)",
        (2, 4, 3),
        PER_CHANNEL,
        since=17,
        torch=lambda t, x, c: t.nn.functional.layer_norm(x, (3,), c["s"], c["b"], 0.01),
    ),
    Case(
        "LayerNormalization-axis",
        "y = LayerNormalization <axis=1> (x, s)",
        (2, 4, 3),
        {"s": normal(4, 3)},
        since=17,
        torch=lambda t, x, c: t.nn.functional.layer_norm(x, (4, 3), c["s"]),
    ),
    Case(
        "LayerNormalization-negative-axis",
        "y = LayerNormalization <axis=-2> (x, s)",
        (2, 4, 3),
        {"s": normal(3)},
        since=17,
    ),
    Case(
        "GroupNormalization",
        "y = GroupNormalization <num_groups=2, epsilon=0.01> (x, s, b)",
        (2, 4, 3, 3),
        {"s": normal(4), "b": normal(4)},
        since=21,
        torch=lambda t, x, c: t.nn.functional.group_norm(x, 2, c["s"], c["b"], 0.01),
    ),
    Case(
        "GroupNormalization-per-group",
        "y = GroupNormalization <num_groups=2, epsilon=0.01> (x, s, b)",
        (2, 4, 3, 3),
        {"s": normal(2), "b": normal(2)},
        since=18,
        until=20,
        torch=lambda t, x, c: t.nn.functional.group_norm(
            x, 2, c["s"].repeat_interleave(2), c["b"].repeat_interleave(2), 0.01
        ),
    ),
    # As many examples as channels: the reference evaluator confuses the two.
    Case(
        "LRN",
        "y = LRN <size=3, alpha=0.5, beta=0.6, bias=1.5> (x)",
        (6, 6, 2, 1),
        since=7,
        torch=lambda t, x, _: t.nn.functional.local_response_norm(x, 3, 0.5, 0.6, 1.5),
    ),
    Case("LRN-even", "y = LRN <size=4, alpha=0.5> (x)", (6, 6, 2, 1), runtime=0),
    Case("LRN-wide", "y = LRN <size=9, alpha=0.5> (x)", (3, 3, 2, 2)),
]

SHAPES = [
    Case("Reshape", "y = Reshape(x, n)", constants={"n": ints(4, 6)}, since=7),
    Case("Reshape-inferred", "y = Reshape(x, n)", constants={"n": ints(0, -1)}, since=7),
    Case("Reshape-allowzero", "y = Reshape <allowzero=1> (x, n)", constants={"n": ints(6, -1)}, since=14),
    Case(
        "Reshape-computed",
        "s = Shape(x) i = Gather(s, one) j = Concat <axis=0> (i, minus) y = Reshape(x, j)",
        constants={"one": ints(1), "minus": ints(-1)},
    ),
    *(Case(f"Flatten-{axis}", f"y = Flatten <axis={axis}> (x)", (2, 3, 2, 2)) for axis in (0, 1, 2, 4)),
    Case("Flatten", "y = Flatten (x)", (2, 3, 2, 2), since=7),
    Case("Flatten-negative", "y = Flatten <axis=-1> (x)", (2, 3, 2, 2), since=11),
    Case("Transpose", "y = Transpose (x)", since=7),
    Case("Transpose-perm", "y = Transpose <perm=[2,0,1]> (x)", since=7),
    Case("Squeeze", "y = Squeeze(x)", (2, 1, 3, 1), since=7),
    Case("Squeeze-attribute", "y = Squeeze <axes=[1]> (x)", (2, 1, 3, 1), since=7, until=12),
    Case("Squeeze-input", "y = Squeeze (x, a)", (2, 1, 3, 1), {"a": ints(-1)}, since=13),
    Case("Unsqueeze", "y = Unsqueeze (x, a)", constants={"a": ints(0, -1)}, since=13),
    Case("Unsqueeze-attribute", "y = Unsqueeze <axes=[0,3]> (x)", since=7, until=12),
    Case("Expand", "y = Expand(x, n)", (3, 1), {"n": ints(2, 3, 4)}, since=8),
    Case("Expand-ones", "y = Expand(x, n)", (3, 4), {"n": ints(2, 1, 1)}),
    Case("Expand-same", "y = Expand(x, n)", (3, 4), {"n": ints(3, 4)}),
    Case("Identity", "y = Identity(x)", since=7),
    Case("Cast", "d = Cast <to=11> (x) z = Mul(d, d) y = Cast <to=$T> (z)", since=7),
    Case("CastLike", "z = CastLike(x, l) y = Mul(z, z)", constants={"l": normal(1)}, since=15),
    Case("CastLike-second", "z = CastLike(k, x) y = Mul(z, x)", constants={"k": ints(3)}, since=15),
    Case("Dropout", "y = Dropout(x)", since=7),
    Case(
        "Dropout-inputs",
        "y, m = Dropout(x, r, f)",
        constants={"r": np.float32(0.5), "f": np.asarray(0, np.bool_)},
        since=12,
    ),
]

PARTS = [
    Case("Concat", "y = Concat <axis=1> (x, b, x)", constants={"b": normal(2, 1, 4)}, since=7),
    Case(
        "Concat-negative", "s = Sigmoid(x) y = Concat <axis=-1> (b, x, s)", constants={"b": normal(2, 3, 2)}, since=11
    ),
    Case("Concat-one", "y = Concat <axis=0> (x)"),
    Case("Split", "y, z = Split <axis=2> (x)", since=7, until=17, outputs=("y", "z")),
    Case("Split-attribute", "y, z = Split <axis=1, split=[1,2]> (x)", since=7, until=12, outputs=("z",)),
    Case("Split-input", "y, z = Split <axis=1> (x, n)", constants={"n": ints(1, 2)}, since=13, outputs=("y", "z")),
    Case("Split-unused", "y, z, u = Split <axis=-1> (x, n)", constants={"n": ints(1, 2, 1)}, since=13, outputs=("z",)),
    Case("Split-uneven", "y, z = Split <axis=1, num_outputs=2> (x)", since=18, outputs=("y", "z")),
    Case("Slice", "y = Slice(x, s, e)", constants={"s": ints(0, 1), "e": ints(2, 3)}, since=10),
    Case("Slice-attributes", "y = Slice <starts=[1, -3], ends=[3, -1], axes=[1, 2]> (x)", since=7, until=9),
    Case("Slice-attributes-plain", "y = Slice <starts=[0, 1], ends=[9, 3]> (x)", since=7, until=9),
    Case(
        "Slice-steps",
        "y = Slice(x, s, e, a, t)",
        (2, 7, 5),
        {"s": ints(1, 0), "e": ints(9, 5), "a": ints(1, -1), "t": ints(2, 3)},
        since=10,
    ),
    Case(
        "Slice-backwards",
        "y = Slice(x, s, e, a, t)",
        (2, 7, 5),
        {"s": ints(-1, 5), "e": ints(-99, 1), "a": ints(2, 1), "t": ints(-1, -2)},
        since=10,
    ),
    Case(
        "Slice-backwards-part",
        "y = Slice(x, s, e, a, t)",
        (2, 7, 5),
        {"s": ints(99), "e": ints(-7), "a": ints(1), "t": ints(-1)},
        since=10,
    ),
    Case(
        "Slice-clamped",
        "y = Slice(x, s, e, a)",
        (2, 7, 5),
        {"s": ints(-99, 3), "e": ints(4, 99), "a": ints(1, 2)},
        since=10,
    ),
    Case(
        "Slice-int32",
        "y = Slice(x, s, e)",
        constants={"s": np.asarray([1], np.int32), "e": np.asarray([2], np.int32)},
        since=10,
    ),
    Case("Pad", "y = Pad(x, p, v)", constants={"p": ints(0, 1, 2, 1, 0, 3), "v": np.float64(0.7)}, since=11),
    Case("Pad-attributes", 'y = Pad <mode="constant", pads=[0,1,2,1,0,3], value=0.7> (x)', since=7, until=10),
    Case("Pad-reflect-attributes", 'y = Pad <mode="reflect", pads=[0,1,2,0,0,3]> (x)', since=7, until=10),
    Case("Pad-negative", "y = Pad(x, p)", (3, 5, 5), {"p": ints(0, -1, 2, 0, 1, -2)}, since=11, reference=False),
    Case("Pad-negative-attributes", "y = Pad <pads=[0,-1,2,0,1,-2]> (x)", (3, 5, 5), until=10, reference=False),
    Case("Pad-reflect", 'y = Pad <mode="reflect"> (x, p)', (2, 4, 5), {"p": ints(0, 2, 1, 0, 1, 3)}, since=11),
    Case("Pad-edge", 'y = Pad <mode="edge"> (x, p)', (2, 4, 5), {"p": ints(0, 2, 1, 0, 1, 3)}, since=11),
    Case(
        "Pad-edge-negative",
        'y = Pad <mode="edge"> (x, p)',
        (2, 4, 5),
        {"p": ints(0, -1, 1, 0, 1, -2)},
        since=11,
        reference=False,
    ),
    Case("Pad-wrap", 'y = Pad <mode="wrap"> (x, p)', (2, 4, 5), {"p": ints(0, 2, 1, 0, 1, 3)}, since=19),
    Case("Pad-axes", "y = Pad(x, p, , a)", (2, 4, 5), {"p": ints(1, 2, 0, 3), "a": ints(-1, 1)}, since=18),
    Case("Tile", "y = Tile(x, n)", constants={"n": ints(2, 1, 3)}, since=7),
    Case("Tile-same", "y = Tile(x, n)", constants={"n": ints(1, 1, 1)}),
    Case("Gather", "y = Gather(x, i)", (4, 3), {"i": ints(2, 0, 2)}, since=7),
    Case("Gather-axis", "y = Gather <axis=1> (x, i)", (2, 4, 3), {"i": ints(3, 1)}),
    Case("Gather-negative", "y = Gather <axis=-1> (x, i)", (2, 3, 4), {"i": ints(-1, 0, -4)}, since=11),
    Case("Gather-scalar", "y = Gather <axis=1> (x, i)", (2, 4, 3), {"i": np.int64(2)}, since=7),
    Case("Gather-scalar-negative", "y = Gather <axis=1> (x, i)", (2, 4, 3), {"i": np.int64(-1)}, since=11),
    Case("Gather-matrix", "y = Gather <axis=1> (x, i)", (2, 4, 3), {"i": np.asarray([[1, 3, 1], [0, 1, 2]])}),
    Case("Gather-int32", "y = Gather (x, i)", (4, 3), {"i": np.asarray([1, 3], np.int32)}),
    Case("Gather-vector", "y = Gather (x, i)", (4,), {"i": np.int64(1)}),
    Case(
        "Where",
        "c = Greater(x, k) y = Where(c, x, b)",
        (2, 3, 4),
        {"k": np.float64(0.11), "b": normal(2, 3, 4)},
        since=9,
    ),
    Case("Where-broadcast", "y = Where(c, x, b)", (3, 1), {"c": normal(2, 3, 4) > 0, "b": normal(4)}),
    Case("Where-both", "s = Sigmoid(x) y = Where(c, s, x)", constants={"c": normal(3, 4) > 0}),
    Case("TopK", "y, i = TopK (x, k)", (2, 5), {"k": ints(3)}, since=10),
    Case("TopK-attribute", "y, i = TopK <k=3> (x)", (2, 5), since=7, until=9),
    Case("TopK-axis", "y, i = TopK <axis=1, largest=0> (x, k)", (2, 5, 3), {"k": ints(2)}, since=11),
    Case("DepthToSpace", "y = DepthToSpace <blocksize=2> (x)", (2, 8, 2, 3), since=7),
    Case(
        "DepthToSpace-crd",
        'y = DepthToSpace <blocksize=2, mode="CRD"> (x)',
        (2, 8, 2, 3),
        since=11,
        torch=lambda t, x, _: t.pixel_shuffle(x, 2),
    ),
    Case("SpaceToDepth", "y = SpaceToDepth <blocksize=2> (x)", (2, 2, 4, 6), since=7),
]

CASES = [*NORMALIZATIONS, *SHAPES, *PARTS]
