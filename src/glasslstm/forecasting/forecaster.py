"""A forecaster: the steps to come of one or many series, as points and quantiles, from one network for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from glasslstm.data.checks import named
from glasslstm.data.sequences import Missing, Sequences
from glasslstm.errors import ArgumentError, DataError, MissingExtraError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.checks import check_weights
from glasslstm.estimators.network import SequenceNetwork
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.settings import (
    COUNT,
    COUNT_OR_NONE,
    FLAG,
    NAMES,
    QUANTILES,
    SHARE,
    TEXT_OR_NONE,
    check_parameters,
    choice,
    documented,
    setting,
)
from glasslstm.estimators.tasks import Goal, Numbers, Quantiles, Task
from glasslstm.forecasting.backtest import Answer, Backtest
from glasslstm.forecasting.checks import check_future, check_history
from glasslstm.forecasting.forecast import Forecast
from glasslstm.forecasting.frequency import Frequency
from glasslstm.forecasting.histories import (
    continued,
    dated_after,
    last_steps,
    names_of,
    numbered,
    series_of,
    with_calendar,
    with_future,
)
from glasslstm.forecasting.network import ForecastNetwork
from glasslstm.forecasting.preparation import WindowPreparation
from glasslstm.forecasting.problem import Problem, check_size, check_transform
from glasslstm.forecasting.rolling import backtested
from glasslstm.forecasting.transforms import TRANSFORMS
from glasslstm.insight.subject import Subject

__all__ = ["LSTMForecaster"]

Self = TypeVar("Self", bound="LSTMForecaster")


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class LSTMForecaster(LSTMEstimator):
    """Forecast one or many series by an LSTM that reads their past and goes on through the horizon.

    One network is trained on windows of all series, and forecasts series too that it never saw. Each window is
    standardised by its own past, beside the LSTM stands a linear model of that past which starts as the seasonal naive
    forecast, and quantiles are learned by the pinball loss: see :class:`ForecastNetwork` and
    :class:`WindowPreparation`.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    series_
        The last `context` steps of each series, which forecasts go on from; :meth:`update` adds to them.
    frequency_
        How far apart steps are.
    trained_ids_, trained_until_
        What the series of the training are called, and when the last step of each was, (N,).
    preparation_
        How windows become inputs: among others the context, the season and the transform that were found.
    history_
        As :class:`LSTMClassifier`, with valid_pinball_loss, or valid_rmse for points alone, where there is a search: in
        standard deviations of the target within each window's context.
    n_features_in_, feature_names_in_, network_, best_epoch_, n_iter_, interrupted_, record_, table_
        As :class:`LSTMClassifier`.

    Examples
    --------
    >>> import numpy as np, glasslstm as gl
    >>> month = np.arange(96)
    >>> y = 100 + month + 10 * np.sin(month * np.pi / 6) + np.random.default_rng(0).normal(size=96)
    >>> model = gl.LSTMForecaster(horizon=6, season_length=12, max_updates=100, random_state=0, verbose=False)
    >>> found = model.fit(y).predict()
    >>> found.point.shape, found.quantiles.shape
    ((1, 6), (1, 6, 3))
    >>> low, high = found.interval(0.8)
    >>> bool((low <= found.point).all() and (found.point <= high).all())
    True
    >>> bool(abs(found.point - (100 + np.arange(96, 102) + 10 * np.sin(np.arange(6) * np.pi / 6))).max() < 6)
    True
    """

    horizon: int = setting(1, COUNT, "Steps to forecast.")
    context: int | None = setting(
        None,
        COUNT_OR_NONE,
        """Steps before them that a forecast is made from. None: the most of twice the horizon, five seasons, and 32,
        but at most 336, and no more than half of what the shortest series has beside the horizon; not less than the
        horizon and a season, though.""",
    )
    target: str | None = setting(None, TEXT_OR_NONE, "The channel to forecast. None: 'y', or the only one.")
    future_covariates: Sequence[str] = setting(
        (),
        NAMES,
        "Channels that are known ahead, such as prices or holidays; the others are known of the past alone.",
    )
    calendar: bool = setting(
        True,
        FLAG,
        "Tell the network month, weekday, hour and the like of each step, as far as they change with the frequency.",
    )
    frequency: str | None = setting(
        None,
        TEXT_OR_NONE,
        "Of time stamps, as pandas calls them ('MS', 'D', 'h', '15min', ...). None: found.",
    )
    season_length: int | None = setting(
        None,
        COUNT_OR_NONE,
        """Steps of a season. None: the longest that is usual for the frequency (12 of months, 168 of hours) and that
        the shortest series has three of; 1 where none is usual.""",
    )
    transform: str = setting(
        "auto",
        choice("auto", *TRANSFORMS),
        """What the target is forecast as: 'sqrt' and 'log1p' for counts and other values of 0 or more, 'log' for those
        above 0; 'auto': the one of these, or 'none', after which its spread depends least on its level in training.""",
    )
    quantiles: Sequence[float] | None = setting(
        (0.1, 0.5, 0.9),
        QUANTILES,
        """Levels of the quantiles to forecast, rising, by the pinball loss; they never cross. The median is always one
        of them: it is the point forecast. None: points alone, by `loss`.""",
    )
    loss: str = setting(
        "squared_error",
        choice("squared_error", "absolute_error", "huber"),
        "Without quantiles, what is made small, of values as they are transformed and standardised.",
    )
    stride: int | None = setting(
        None,
        COUNT_OR_NONE,
        """Steps from one window that is trained on to the next of the series. None: 1, or more where that makes more
        than 20,000 windows, but not more than the horizon, and without a factor that the season has too.""",
    )
    max_updates: int | None = setting(
        3000,
        COUNT_OR_NONE,
        "The most steps of the optimiser, in whole epochs, each of all windows once, and at least one.",
    )
    max_epochs: int = setting(15, COUNT, "The most epochs: it ends the training where there are few windows.")
    bidirectional: bool = setting(False, FLAG, "Read each window backward too, the horizon first.")
    validation_fraction: float = setting(
        0.0,
        SHARE,
        """Share of the windows that a search for the best epoch is judged by: those of other series, or the last ones
        of a single series. 0: no search, but a learning rate that falls along a cosine, and all windows.""",
    )
    dropout: float = setting(
        0.1, SHARE, "Share zeroed in training: of what the answer is read from, and between layers."
    )
    missing: Missing = setting(
        "mask",
        choice("error", "mask"),
        "Missing values, NaN: refuse them ('error'), or fill them and tell the network where they were ('mask').",
    )

    pooling: str = field(init=False, default="last")  # type: ignore[assignment] # each step has its own answer
    conv_blocks: int = field(init=False, default=0)
    conv_filters: int = field(init=False, default=1)
    conv_kernel_size: int = field(init=False, default=1)
    conv_max_steps: int = field(init=False, default=1)
    input_noise: float = field(init=False, default=0.0)  # the linear model reads the inputs too
    channel_scale: float = field(init=False, default=0.0)
    channel_shift: float = field(init=False, default=0.0)
    step_duration: bool = field(init=False, default=False)  # all steps are of one frequency

    preparation_: WindowPreparation = field(init=False)
    n_outputs_: int = field(init=False)
    series_: Sequences = field(init=False)
    trained_ids_: NDArray[Any] = field(init=False)
    trained_until_: NDArray[Any] = field(init=False)
    frequency_: Frequency = field(init=False)

    def fit(  # type: ignore[override]
        self: Self,
        X: Any,
        y: None = None,
        *,
        sample_weight: ArrayLike | None = None,
        record: bool | str | os.PathLike[str] = False,
        loggers: Any = (),
    ) -> Self:
        """Train on the windows of some series.

        Parameters
        ----------
        X
            Series of any lengths: a long table (pandas, polars, pyarrow) with the columns unique_id, ds, y, and
            covariates if there are any; :class:`glasslstm.data.Sequences`, which may have static covariates and
            categories too; a pandas Series; an array (T,); or a list of arrays (T_i,) or (T_i, F).
        y
            Nothing: what is forecast is a channel of the series.
        sample_weight
            How much each window of a series counts, (N,), 0 or more. Default: all the same, so that a long series, with
            more windows, counts more.
        record, loggers
            As in :meth:`LSTMClassifier.fit`.

        Raises
        ------
        DataError
            For series that cannot be trained on, before training starts: all of them are named.
        ArgumentError
            For a parameter out of range, or one that does not fit the series.
        """
        check_parameters(self)
        if y is not None:
            raise ArgumentError("y: what is forecast is a channel of X, named by target=; leave y out")
        problem = Problem.of(self, X)
        weights = check_weights(sample_weight, len(problem.series))
        goal = Goal(
            self._task(),
            problem.prepare(problem.windows).targets(problem.windows),
            {
                "n_outputs_": self.horizon,
                "frequency_": problem.frequency,
                "trained_ids_": problem.series.ids,
                "trained_until_": self._ends(problem.series),
                "series_": last_steps(problem.series, problem.context),
            },
            prepare=problem.prepare,
        )
        data = self._examples(problem.windows, goal.targets, weights[problem.windows.ids])
        return self._trained(data, None, goal, problem.series, record, loggers)

    def predict(self, X: Any = None, horizon: int | None = None, *, future: Any = None) -> Forecast:
        """Forecast the steps after the end of each series.

        Parameters
        ----------
        X
            Series to go on from, as for :meth:`fit`, which the model need not know: `context` steps at least, of which
            the last ones are used. Default: those of the training, and what :meth:`update` added. A whole number is
            taken for the horizon.
        horizon
            Steps to forecast, at most those of the training. Default: as many.
        future
            With ``future_covariates``: their values in the steps to come, in a form as `X`, by the ids of the series.

        Raises
        ------
        DataError
            For series that are too short or do not fit the model, and a future that does not reach the horizon: all of
            them are named.
        ArgumentError
            For a horizon below 1 or beyond the one of the training.
        """
        check_is_fitted(self, "network_")
        if isinstance(X, (int, np.integer)) and not isinstance(X, bool):
            if horizon is not None:
                raise ArgumentError(
                    f"X: got {X} beside horizon={horizon}; expected series, or one of the two"
                )
            X, horizon = None, int(X)
        steps = self._steps(horizon)
        histories = self.series_ if X is None else self._histories(X)
        ahead = self._after(histories)
        windows = self._ahead(histories, self._future(histories, future, steps), ahead)
        answer = self._answer(windows)
        return Forecast(
            ids=histories.ids,
            times=ahead[:, :steps],
            point=answer.point[:, :steps],
            levels=self._levels,
            quantiles=answer.quantiles[:, :steps] if self._levels else None,
        )

    def update(self: Self, new_values: Any) -> Self:
        """Add new steps to the series that forecasts go on from, without a new fit.

        Parameters
        ----------
        new_values
            In a form as for :meth:`fit`, with all channels: the steps that came after those that are known, by the ids
            of the series. Steps between them are missing values. A series with a new id is forecast from then on, too.

        Raises
        ------
        DataError
            For steps that are known already, other channels, and a new series that is shorter than the context.
        """
        check_is_fitted(self, "network_")
        new = self._same_channels(series_of(new_values, self.missing, **self._roles()), "new_values")
        grown = continued(self.series_, dated_after(new, self.series_, self.frequency_, "new_values"))
        grown = self.frequency_.regular(grown)
        self._check(grown, "new_values")
        self.series_ = last_steps(grown, self.preparation_.context)
        return self

    def backtest(
        self,
        X: Any,
        windows: int = 1,
        stride: int | None = None,
        *,
        baselines: Sequence[str] = ("seasonal_naive", "theta"),
        overlap: bool = False,
        refit: bool = False,
    ) -> Backtest:
        """Forecast from several origins in the past, each from what was known there, and compare with what came.

        Parameters
        ----------
        X
            Series as for :meth:`fit`, whole: what stands before an origin, and the steps after it.
        windows
            Origins of each series; the last window ends with the series.
        stride
            Steps from one origin to the next. Default: the horizon, so that no step is forecast twice.
        baselines
            What the forecasts are compared with: 'seasonal_naive' and 'theta'.
        overlap
            Accept windows with steps that the model was trained on, which makes it look better than it is.
        refit
            Train anew at each origin, with the same parameters but without weights and checkpoints, on all that stands
            before it in each series.

        Raises
        ------
        DataError
            For series that are too short for so many windows, and windows that overlap the training data: all of them
            are named.
        """
        check_is_fitted(self, "network_")
        return backtested(self, X, windows, stride, baselines, overlap=overlap, refit=refit)

    def _histories(self, X: Any) -> Sequences:
        """Return the series that a forecast goes on from, checked."""
        series = self._known_steps(X)
        self._check(series)
        return series

    def _known_steps(self, X: Any) -> Sequences:
        """Return series with the channels of the training, and without a step left out."""
        return self.frequency_.regular(
            self._same_channels(numbered(series_of(X, self.missing, **self._roles())))
        )

    def _task(self) -> Task:
        steps = int(self.horizon)
        scale = ((0.0,) * steps, (1.0,) * steps)
        if self.quantiles is None:
            return Numbers(steps, self.loss, *scale)
        return Quantiles(steps, tuple(sorted({_MEDIAN, *map(float, self.quantiles)})), *scale)

    def _network(self, preparation: Preparation, task: Task, longest: int) -> SequenceNetwork:
        assert isinstance(preparation, WindowPreparation)
        assert isinstance(task, (Numbers, Quantiles))
        return ForecastNetwork(
            preparation.inputs,
            task.outputs // task.count,
            context=preparation.context,
            horizon=task.count,
            season_length=preparation.season_length,
            target_input=preparation.target_input,
            middle=task.quantiles.index(_MEDIAN) if isinstance(task, Quantiles) else 0,
            **self._layout(preparation, task, longest),
        )

    def _steps(self, horizon: int | None) -> int:
        if horizon is None:
            return self._reach
        if not COUNT.fits(horizon) or horizon > self._reach:
            raise ArgumentError(
                f"horizon: expected a whole number from 1 to {self._reach}, that of the training, got {horizon!r}; fit "
                "with a longer horizon for more"
            )
        return int(horizon)

    def _roles(self, channels: Sequence[str] | None = None) -> dict[str, Sequence[str]]:
        """Return what a table is to be read with: the channels of the training and its static features, or some."""
        names = list(self.feature_names_in_) if channels is None else list(channels)
        static = list(self.series_.static_names) if channels is None else []
        categories = [name for name in (*names, *static) if name in self.series_.categories]
        return {"channels": names, "static": static, "categories": categories}

    def _same_channels(self, series: Sequences, what: str = "X") -> Sequences:
        """Return the series with the model's channels, in its order where they have names.

        Raises
        ------
        DataError
            For others.
        """
        known, names = tuple(self.feature_names_in_.tolist()), names_of(series)
        if set(names) == set(known) and names != known:
            order = [names.index(name) for name in known]
            series = replace(series, values=series.values[:, order])
            names = known
        if names != known:
            raise DataError(
                f"{what}: expected the channels {', '.join(known)} of the training, got {', '.join(names)}"
            )
        return replace(series, channel_names=known)

    def _check(self, series: Sequences, what: str = "X") -> None:
        """Refuse series that no forecast can be made from; one that stands still may be."""
        found, target = self.preparation_, self.preparation_.target
        check_history(
            series,
            target,
            steps=found.context,
            missing_allowed=self.missing == "mask",
            constant_allowed=True,
            what=what,
        )
        check_size(series, target, what)
        check_transform(found.transform, series, target, what)

    def _ends(self, histories: Sequences) -> NDArray[Any]:
        assert histories.times is not None
        return histories.times[histories.stops - 1]

    def _after(self, histories: Sequences) -> NDArray[Any]:
        """Return the time stamps of the steps to come, (N, H)."""
        ends = self._ends(histories)
        ahead = self.frequency_.after(ends, self._reach)
        if not (ahead > ends[:, None]).all():
            raise DataError(
                f"X: the steps to come are beyond what {ends.dtype} can hold; give times in a longer unit"
            )
        return ahead

    def _future(self, histories: Sequences, future: Any, steps: int) -> NDArray[np.float64]:
        """Return what is known of the steps to come, (N, H, K); past those that are asked for, the last of them."""
        names = [str(self.feature_names_in_[k]) for k in self._known_channels]
        given = None
        if future is not None:
            read = series_of(future, "mask", **self._roles(names))
            given = dated_after(read, histories, self.frequency_, "future")
        if self.network_.lstm.bidirectional:
            steps = self._reach  # for what stands at the end of the horizon acts on its start
        known = check_future(histories, given, names, steps, self.frequency_)
        return known[:, np.minimum(np.arange(self._reach), steps - 1)]

    @property
    def _known_channels(self) -> list[int]:
        """The channels of the series, and not of the calendar, that are known ahead."""
        return [k for k in self.preparation_.known if k < self.n_features_in_]

    def _ahead(self, histories: Sequences, future: NDArray[np.float64], ahead: NDArray[Any]) -> Sequences:
        """Return a window for each series, with the steps to come at its end."""
        known = last_steps(histories, self.preparation_.context)
        return self._marked(with_future(known, future, self._known_channels, ahead))

    def _marked(self, series: Sequences) -> Sequences:
        names = self.preparation_.names or ()
        return with_calendar(series, self.frequency_, names[self.n_features_in_ : self.preparation_.channels])

    @property
    def _reach(self) -> int:
        """How many steps the network forecasts."""
        count: int = self.task_.count  # type: ignore[attr-defined]
        return count

    @property
    def _levels(self) -> tuple[float, ...]:
        return self.task_.quantiles if isinstance(self.task_, Quantiles) else ()

    def _answer(self, windows: Sequences) -> Answer:
        """Return the forecasts of some windows, in the units of the target."""
        self._refuse_blind(windows)
        self.preparation_.check(windows, type(self).__name__)
        found = self.preparation_.in_units(self._answers(windows).double().numpy(), windows)
        if not self._levels:
            return Answer(found, np.empty((*found.shape, 0)))
        return Answer(found[..., self._levels.index(_MEDIAN)], found)

    def _refuse_blind(self, windows: Sequences) -> None:
        """Refuse windows of which nothing is known before the forecast."""
        there = ~np.isnan(windows.values[:, self.preparation_.target])
        count = np.concatenate([[0], np.cumsum(there)])
        context = self.preparation_.context
        blind = count[windows.starts + context] == count[windows.starts]
        if blind.any():
            names = np.unique(windows.ids[blind])
            raise DataError(
                f"X: of {len(names)} series every value of the target is missing in the {context} steps before a "
                f"forecast: {named(names)}; leave them out, or fill their gaps"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def _known(self, X: Any) -> Sequences:
        """Return of each series the last window of which all is known: what trace, diagnose and report look at."""
        check_is_fitted(self, "network_")
        series = self._histories(X)
        length = self.preparation_.context + self._reach
        check_history(
            series, self.preparation_.target, steps=length, missing_allowed=True, constant_allowed=True
        )
        ahead = tuple(f"{step} ahead" for step in range(1, self._reach + 1))
        windows = self._marked(replace(series, starts=series.stops - length, target_names=ahead))
        targets = self.preparation_.targets(windows)
        return windows if np.isnan(targets).any() else replace(windows, targets=targets)

    def _encoded(self, y: Any, series: Sequences) -> NDArray[Any]:  # noqa: ARG002 - of windows it is known
        found: NDArray[Any] = y
        return found

    def _goal(self, y: Any, series: Sequences) -> Goal:
        raise NotImplementedError  # fit makes it

    def _subject(self, X: Any, y: Any = None) -> Subject:
        """Return what a report shows: the last windows that are known, and the forecasts, if figures can be drawn."""
        subject = super()._subject(X, y)
        try:
            from glasslstm.forecasting.section import forecast_section  # noqa: PLC0415 - it needs an extra
        except MissingExtraError:
            return subject
        series = self._histories(X)
        series = series[np.unique(np.linspace(0, len(series) - 1, _SHOWN).astype(np.int64))]
        backtest = self._backtest if hasattr(self, "_backtest") else self._unseen(series)
        note = ""
        if self._known_channels:
            note = (
                " They are the last steps that are known: those to come need covariates that are not at hand."
            )
            found = self._last_window(series)
            series = replace(series, stops=series.stops - self._reach)
        else:
            found = self.predict(series)
        section = forecast_section(series, found, backtest, channel=self.preparation_.target, note=note)
        return replace(subject, sections=(section,))

    def _unseen(self, series: Sequences) -> Backtest | None:
        """Return a backtest on the last window of each series, if the model was not trained on it."""
        try:
            return self.backtest(series)
        except DataError:
            return None

    def _last_window(self, series: Sequences) -> Forecast:
        found = self.backtest(series, baselines=(), overlap=True)
        point, quantiles = found.answers["lstm"]
        return Forecast(series.ids, found.times, point, self._levels, quantiles if self._levels else None)


_MEDIAN = 0.5
_SHOWN = 100  # series in a report
