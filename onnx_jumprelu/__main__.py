"""`python -m onnx_jumprelu`."""

import sys

from onnx_jumprelu.cli import main

sys.exit(main())
