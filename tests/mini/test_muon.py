"""Muon against torch's own, and against what it is to do."""

import copy

import pytest
import torch

from video3d_plugin.mini.muon import Muon, orthogonalize

SHAPES = ((16, 16), (48, 16), (16, 16), (16, 48), (7, 1))


def matrices(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(0.1 * torch.randn(shape, generator=generator)) for shape in SHAPES]


def turn(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own (2.9 or later has)")
def test_steps_are_those_of_torchs_own_but_for_its_rounding():
    ours, theirs = matrices(), matrices()
    here = Muon([{"params": ours[:3]}, {"params": ours[3:], "lr": 0.005}], lr=0.02, weight_decay=0.1)
    groups = [{"params": theirs[:3]}, {"params": theirs[3:], "lr": 0.005}]
    there = torch.optim.Muon(groups, lr=0.02, weight_decay=0.1, momentum=0.95)
    for step in range(4):
        turn(ours, step), turn(theirs, step)
        here.step(), there.step()
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        assert (a - start).abs().max() > 0.005
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)  # it computes in bfloat16


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 64, 16), (2, 16, 64)])
def test_singular_values_become_about_one_and_their_vectors_stay(shape):
    given = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, values, v = torch.linalg.svd(given, full_matrices=False)
    made = u.transpose(1, 2) @ orthogonalize(1e-3 * given) @ v.transpose(1, 2)
    diagonal = made.diagonal(dim1=1, dim2=2)
    assert ((diagonal > 0.6) & (diagonal < 1.25))[values > 0.05 * values.amax()].all()
    assert (made - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_the_same_matrix_gets_the_same_step_alone_and_among_others():
    alone, among = matrices()[:1], matrices()
    turn(alone, 3), turn(among, 3)
    Muon(alone, lr=0.1).step(), Muon(among, lr=0.1).step()
    torch.testing.assert_close(alone[0], among[0])


def test_no_gradient_no_step_and_a_gradient_of_zero_only_decays():
    first, second = matrices()[:2]
    start = first.detach().clone(), second.detach().clone()
    first.grad = torch.zeros_like(first)
    Muon([first, second], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(first.detach(), 0.95 * start[0])
    assert torch.equal(second, start[1])


def test_a_stored_state_goes_on_alike():
    ours, twins = matrices(), matrices()
    first, other = Muon(ours, lr=0.1), Muon(twins, lr=0.1)
    for step in range(2):
        turn(ours, step)
        first.step()
    with torch.no_grad():
        for twin, p in zip(twins, ours, strict=True):
            twin.copy_(p)
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    turn(ours, 9), turn(twins, 9)
    first.step(), other.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, twins, strict=True))


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned():
    (p,) = matrices()[:1]
    start, optimizer = p.detach().clone(), Muon([p], lr=0.1)

    def closure():
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(start.square().sum().item()) and not torch.equal(p, start)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"\(5,\).*AdamW"):
        Muon([torch.nn.Parameter(torch.zeros(5))])
