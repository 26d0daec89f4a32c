"""Names that the library and the command line share. This module imports nothing heavy, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal

VERIFIED_EXAMPLES = 16  # of the data that `verify` runs on: enough to use every site, and little memory
NormName = Literal["Linf", "L2"]
SurrogateName = Literal["exact", "relu", "smooth"]
LoweringName = Literal["auto", "where", "thresholded-relu", "function", "cast-mul", "softplus", "exp-log"]
ExternalDataMode = Literal["copy", "link"]
ProtocolName = Literal["standard", "paper"]
# The models of a verdict: a pair has an original and a patched one, a verdict on one model calls it `model`.
ModelName = Literal["original", "patched", "model"]
# What an attack knows: exact gradients, gradients that see past a jump, or none. `gray-box` examples were made on the
# original and replayed on the patched model, `transfer` examples the other way round.
Kind = Literal["white-box", "adaptive", "black-box", "gray-box", "transfer"]
# What a verdict says: of a pair whether the patch helps, of one model only what was measured.
Outcome = Literal["gain", "loss", "undecided", "measured"]
