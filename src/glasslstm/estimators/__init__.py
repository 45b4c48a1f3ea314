"""fit, predict, score: an LSTM as scikit-learn users expect it."""

from glasslstm._extras import require

for _module in ("narwhals", "pyarrow", "pydantic", "rich", "sklearn"):
    require(_module, extra="train")

from glasslstm.estimators.classifier import LSTMClassifier  # noqa: E402
from glasslstm.estimators.regressor import LSTMRegressor  # noqa: E402
from glasslstm.estimators.tagger import LSTMTagger  # noqa: E402

__all__ = ["LSTMClassifier", "LSTMRegressor", "LSTMTagger"]
