import pytest

from modelling.lm_loss import summed_cross_entropy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_in_pieces_is_torchs_own_with_its_gradient(dtype):
    import torch

    torch.manual_seed(0)
    logits = (3 * torch.randn(600, 50)).to(getattr(torch, dtype))
    labels = torch.randint(0, 50, (600,))
    labels[::7] = -100
    logits[7] = float("nan")  # a place that does not count
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = summed_cross_entropy(ours, labels)
    wanted = torch.nn.functional.cross_entropy(theirs.float(), labels, ignore_index=-100, reduction="sum")
    (loss * 0.5).backward()
    (wanted * 0.5).backward()
    assert loss.dtype == torch.float32 and torch.allclose(loss, wanted, rtol=1e-5)
    kept = labels != -100
    assert torch.allclose(ours.grad[kept].float(), theirs.grad[kept].float(), atol=1e-6 if dtype == "float32" else 4e-3)
    assert (ours.grad[~kept] == 0).all()


def test_no_label_counts_and_nothing_moves():
    import torch

    logits = torch.randn(5, 8, requires_grad=True)
    loss = summed_cross_entropy(logits, torch.full((5,), -100))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()
    with torch.no_grad():
        assert summed_cross_entropy(logits, torch.arange(5)) > 0
