from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.findings import SEVERITIES, Code, Place
from glasslstm.insight.rules import RULES, Hit, Rule, Skip

X = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(1))


class Classifier(nn.Module):
    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.lstm, self.head = kind(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.lstm(x)[1][0][-1])))


def shut(lstm):
    with torch.no_grad():
        lstm.bias_ih_l0[4:8].fill_(-20)
    return lstm


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Linear(3, 2), X), ArgumentError, "model: expected an LSTM or LSTMCell .* found Linear"),
        (("model", X), ArgumentTypeError, "model: expected a torch.nn.Module, got str"),
        (
            (nn.LSTM(3, 4), X[..., :2]),
            ArgumentError,
            r"inputs: the model refused them \(.*got a tensor \(12, 5, 2\)",
        ),
        (
            (nn.LSTM(3, 4), X, X),
            ArgumentError,
            "loss: needed, because targets was given; give both or neither",
        ),
        ((nn.LSTM(3, 4), X, None, max), ArgumentError, "targets: needed, because loss was given"),
        (
            (Classifier(), X, torch.zeros(5), lambda output, y: output.sum(1) - y),
            ArgumentError,
            r"loss: expected a function .* -> a tensor with one number; got \(5,\)",
        ),
        ((Classifier(), X, torch.zeros(5), lambda output, y: 1.0), ArgumentError, "one number; got float"),
    ],
)
def test_what_cannot_be_diagnosed(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        gl.diagnose(*arguments)


@pytest.mark.parametrize("codes", [["no-such-code"], "forget-gate-shut", ["forget-gate-shut", "x"]])
def test_unknown_codes(codes) -> None:
    with pytest.raises(
        ArgumentError, match=r"codes: expected a list of some of .*forget-gate-shut.*; got"
    ) as caught:
        gl.diagnose(nn.LSTM(3, 4), X, codes=codes)
    assert repr(codes) in str(caught.value)


def test_a_compiled_model() -> None:
    with pytest.raises(ArgumentError, match="compiled"):
        gl.diagnose(torch.compile(Classifier(), backend="eager"), X)


def test_every_code_is_looked_for_or_skipped_with_a_reason() -> None:
    found = gl.diagnose(Classifier(), X)
    assert set(found.looked_for) | set(found.skipped) == set(RULES)
    assert not set(found.looked_for) & set(found.skipped)
    assert all(found.skipped.values())


def test_codes_choose() -> None:
    lstm = shut(gl.LSTM(3, 4))
    found = gl.diagnose(lstm, X, codes=["dropout-without-effect"])
    assert (tuple(found), found.looked_for, found.skipped) == ((), ("dropout-without-effect",), {})
    found = gl.diagnose(lstm, X, codes=["forget-gate-shut", "dropout-without-effect"])
    assert [one.code for one in found] == ["forget-gate-shut"]


def test_a_finding_has_what_its_code_says_and_what_the_rule_found() -> None:
    (found,) = gl.diagnose(shut(gl.LSTM(3, 4)), X, codes=["forget-gate-shut"])
    code = RULES["forget-gate-shut"].code
    assert (found.title, found.meaning, found.threshold, found.page) == (
        code.title,
        code.meaning,
        code.threshold,
        code.page,
    )
    assert found.place == Place("", 0, 0, (0, 1, 2, 3))
    assert 0 < found.value < found.threshold


def test_the_worst_come_first(monkeypatch) -> None:
    for severity in SEVERITIES:
        code = Code(severity, severity, "t", 0, "m", "set it to {figure}")
        look = lambda case: [Hit(Place(""), 1.0, "e", words={"figure": 3})]  # noqa: E731
        monkeypatch.setitem(RULES, severity, Rule(code, look))
    found = gl.diagnose(gl.LSTM(3, 4), X, codes=SEVERITIES)
    assert [one.severity for one in found] == ["error", "warning", "note"]
    assert found.worst == "error"
    assert found[0].change == "set it to 3"


def test_a_rule_that_cannot_look_says_why(monkeypatch) -> None:
    def look(case):
        raise Skip("one step alone")

    monkeypatch.setitem(RULES, "x", Rule(Code("x", "note", "t", 0, "m", "c"), look))
    found = gl.diagnose(gl.LSTM(3, 4), X, codes=["x"])
    assert found.skipped == {"x": "one step alone"}
    assert found.looked_for == ()
    assert str(found) == (
        "nothing found; 0 codes looked for, 1 could not be: x\n\nnot looked for:\n  x: one step alone"
    )


def test_an_error_in_a_rule_comes_through_and_the_model_is_as_before(monkeypatch) -> None:
    def look(case):
        raise ZeroDivisionError

    monkeypatch.setitem(RULES, "x", Rule(Code("x", "note", "t", 0, "m", "c"), look))
    model = Classifier()
    with pytest.raises(ZeroDivisionError):
        gl.diagnose(model, X, codes=["x"])
    assert model.training
    assert type(model.lstm) is nn.LSTM


@pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
@pytest.mark.parametrize("given", [(), (torch.zeros(5, dtype=torch.int64), nn.functional.cross_entropy)])
def test_the_model_is_left_as_it_was(kind, given) -> None:
    model = Classifier(kind)
    model.drop.eval()
    nn.functional.cross_entropy(model(X), torch.ones(5, dtype=torch.int64)).backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    values = {name: grad.clone() for name, grad in grads.items()}
    modes = {name: module.training for name, module in model.named_modules()}
    classes = {name: type(module) for name, module in model.named_modules()}
    random = torch.get_rng_state()
    gl.diagnose(model, X, *given)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for name, parameter in model.named_parameters():
        assert parameter.grad is grads[name]
        assert torch.equal(parameter.grad, values[name])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: type(module) for name, module in model.named_modules()} == classes
    assert torch.equal(torch.get_rng_state(), random)
    hooks = [
        [*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks]
        for module in model.modules()
    ]
    assert not any(hooks)


def test_the_same_again() -> None:
    model = Classifier()
    assert gl.diagnose(model, X).to_dict() == gl.diagnose(model, X).to_dict()


def test_to_dict_is_json() -> None:
    lstm = shut(gl.LSTM(3, 4))
    found = gl.diagnose(lstm, X)
    again = json.loads(json.dumps(found.to_dict()))
    assert again["worst"] == "error"
    assert "forget-gate-shut" in {one["code"] for one in again["findings"]}


def test_no_gradients_and_inference_mode_around_it() -> None:
    model = Classifier().requires_grad_(False)
    expected = gl.diagnose(model, X).to_dict()
    with torch.no_grad():
        assert gl.diagnose(model, X).to_dict() == expected
    assert not any(parameter.requires_grad for parameter in model.parameters())


class Loop(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.head = kind(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        states = None
        for step in x:
            states = self.cell(step, states)
        return self.head(states[0])


class Tagger(nn.Module):
    """Takes tokens, calls one LSTM twice and another one on top, and returns a dict."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(9, 3), gl.LSTM(3, 4, bidirectional=True)
        self.top = nn.LSTM(8, 4)

    def forward(self, tokens):
        x = self.embedding(tokens)
        once, twice = self.lstm(x)[0], self.lstm(x.flip(0))[0]
        return {"count": tokens.sum(), "tags": self.top(once + twice)[0]}


EDGES = {
    "unbatched": (lambda: gl.LSTM(3, 4), X[:, 0]),
    "T=1": (Classifier, X[:1]),
    "B=1": (Classifier, X[:, :1]),
    "lengths of 0": (
        lambda: gl.LSTM(3, 4),
        {"input": X, "hx": None, "lengths": torch.tensor([12, 0, 3, 1, 12])},
    ),
    "all lengths 0": (lambda: gl.LSTM(3, 4), {"input": X, "hx": None, "lengths": torch.zeros(5).long()}),
    "packed": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), pack_sequence([X[:, 0], X[:4, 1]])),
    "projection": (lambda: gl.LSTM(3, 4, 2, proj_size=2, dtype=torch.float64), X.double()),
    "a loop over torch's cell": (lambda: Loop(nn.LSTMCell), X),
    "a loop over our cell": (lambda: Loop(gl.LSTMCell), X),
    "tokens": (Tagger, torch.randint(9, (12, 5), generator=torch.Generator().manual_seed(0))),
    "one token": (Tagger, torch.zeros(1, 1, dtype=torch.int64)),
    "frozen": (lambda: Classifier().requires_grad_(False), X),
    "float64": (lambda: Classifier(gl.LSTM).double(), X.double()),
    "bfloat16": (lambda: Classifier(gl.LSTM).bfloat16(), X.bfloat16()),
    "NaN in the input": (Classifier, torch.where(X > 1, torch.nan, X)),
    "infinity in the input": (Classifier, torch.where(X > 1, torch.inf, X)),
    "constant input": (Classifier, torch.zeros(12, 5, 3)),
}


@pytest.mark.parametrize("edge", EDGES)
def test_no_rule_falls_over(edge) -> None:
    make, inputs = EDGES[edge]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        found = gl.diagnose(make(), inputs)
    json.dumps(found.to_dict())
    assert str(found)


def test_nan_in_the_weights() -> None:
    model = Classifier(gl.LSTM)
    with torch.no_grad():
        model.lstm.weight_hh_l0[0, 0] = torch.nan
    assert gl.diagnose(model, X, torch.zeros(5).long(), nn.functional.cross_entropy).worst == "error"


def test_causes_are_looked_for_before_their_effects() -> None:
    order = list(RULES)
    for cause, effect in (
        ("not-finite", "inputs-not-scaled"),
        ("inputs-not-scaled", "forget-gate-shut"),
        ("forget-gate-open", "cell-grows"),
        ("forget-gate-shut", "memory-too-short"),
        ("memory-too-short", "gradient-vanishes"),
    ):
        assert order.index(cause) < order.index(effect)
