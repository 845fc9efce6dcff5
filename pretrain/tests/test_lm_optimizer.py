import argparse

import pytest
import torch

from modelling.lm_optimizer import make_optimizer


def make(own_clip: bool = False, clip: float = 1.0):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    args = argparse.Namespace(weight_decay=0.1, learning_rate=0.1, beta2=0.95, clip=clip)
    return model, make_optimizer(args, model, own_clip)


def step(model, optimizer, scale: float = 1.0) -> None:
    optimizer.zero_grad()
    (model(torch.ones(1, 3)).sum() * scale).backward()
    optimizer.step()


def test_a_held_step_changes_neither_weights_nor_moments_nor_the_step_count():
    model, optimizer = make()
    step(model, optimizer)
    weights = [p.detach().clone() for p in model.parameters()]
    state = {key: value.clone() for key, value in optimizer.state[model.weight].items()}
    optimizer.hold = True
    step(model, optimizer, scale=100.0)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(torch.equal(value, optimizer.state[model.weight][key]) for key, value in state.items())
    optimizer.hold = False
    step(model, optimizer)
    assert not torch.equal(weights[0], model.weight) and optimizer.state[model.weight]["step"] == 2


def test_only_matrices_decay():
    _, optimizer = make()
    assert [(len(g["params"]), g["params"][0].dim(), g["weight_decay"]) for g in optimizer.param_groups] == [
        (1, 2, 0.1),
        (1, 1, 0.0),
    ]


@pytest.mark.parametrize(("clip", "norm_after"), [(0.5, 0.5), (0.0, 8**0.5 * 4)])
def test_where_it_clips_itself_it_knows_the_norm_before_and_refuses_what_is_no_number(clip, norm_after):
    model, optimizer = make(own_clip=True, clip=clip)
    step(model, optimizer, scale=4.0)
    assert optimizer.norm == pytest.approx(8**0.5 * 4)
    assert torch.cat([p.grad.view(-1) for p in model.parameters()]).norm() == pytest.approx(norm_after, rel=1e-4)
    before = model.weight.detach().clone()
    step(model, optimizer, scale=float("nan"))
    assert torch.equal(before, model.weight)
