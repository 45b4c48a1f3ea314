"""fit, predict, score: an LSTM as scikit-learn users expect it."""

from glasslstm._extras import require

for _module in ("narwhals", "pyarrow", "pydantic", "rich", "sklearn"):
    require(_module, extra="train")

from glasslstm.estimators.classifier import LSTMClassifier  # noqa: E402

__all__ = ["LSTMClassifier"]
