"""What glasslstm's layer costs, measured against what else there is: the command ``glasslstm bench``.

It needs torch alone; ONNX Runtime joins in where the extra "bench" is installed. docs/bench.md says how
it measures, and what the document has.
"""

from glasslstm.bench.run import parse_threads, run
from glasslstm.bench.shapes import parse_shapes
from glasslstm.bench.works import parse_works

__all__ = ["parse_shapes", "parse_threads", "parse_works", "run"]
