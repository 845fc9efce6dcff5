"""The loss of a batch as a sum, and the factor that makes it the mean over all counted tokens of a step.

Micro-batches hold different numbers of counted tokens (padding, document borders, loss masks), so a mean of their means
would weigh a token by the company it keeps. Every micro-batch is therefore summed, and every sum divided by one number:
the labels of the whole step, which each rank reads from the data alone (`windows.labels_in`).
"""

from modelling.packed_attention import model_inputs


def summed_loss(model, batch: dict, device):
    """(cross-entropy in nats summed over the counted labels: float32 scalar tensor, their number: int).

    batch: as a window layout's `batch` gives it. No counted label: the sum is 0 and so is its gradient.
    """
    import torch

    from modelling.token_loss import summed_cross_entropy

    module = getattr(model, "module", model)
    inputs = model_inputs(module.config._attn_implementation, batch, device, next(module.parameters()).dtype)
    labels = torch.as_tensor(batch["labels"]).to(device, non_blocking=True)
    nats = summed_cross_entropy(model(**inputs).logits.flatten(0, 1), labels.flatten())
    return nats, int((batch["labels"] != -100).sum())


def backward_scale(labels_in_step: int, world: int, accumulation_steps: int) -> float:
    """What each micro-batch's summed loss is multiplied by before `engine.backward`.

    DeepSpeed divides by the accumulation steps and averages the gradients over the ranks; both are undone here, so
    that the step's gradient is that of the mean over all its counted tokens. A step without any moves nothing.
    """
    return world * accumulation_steps / max(1, labels_in_step)
