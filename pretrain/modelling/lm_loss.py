"""The loss of a batch as a sum over a large vocabulary, and the factor that makes it the mean over a step's tokens.

Micro-batches hold different numbers of counted tokens (padding, document borders, loss masks), so a mean of their means
would weigh a token by the company it keeps. Every micro-batch is therefore summed, and every sum divided by one number:
the labels of the whole step, which each rank reads from the data alone (`windows.labels_in`).
"""

import torch

from modelling.packed_attention import model_inputs

ROWS = {"cpu": 256, "cuda": 2048}  # tokens a piece: on a CPU it should stay in the cache


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, labels):
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        rows = ROWS.get(logits.device.type, 1024)
        for start in range(0, len(logits), rows):
            piece = slice(start, start + rows)
            counted = (labels[piece] != -100)[:, None]
            places = labels[piece].clamp(min=0)[:, None]
            logs = torch.log_softmax(logits[piece].float(), dim=-1)
            # where, not a product: 0 x NaN would be NaN in a row that does not count.
            total -= torch.where(counted, logs.gather(1, places), 0.0).sum()
            if gradient is not None:
                # d/dx of -log softmax(x)[y] is softmax(x) - onehot(y).
                shares = logs.exp_()
                shares.scatter_add_(1, places, torch.full_like(places, -1, dtype=shares.dtype))
                gradient[piece] = shares.masked_fill_(~counted, 0.0)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, scale):
        (gradient,) = ctx.saved_tensors
        # In place: nothing else holds it, and a second backward pass over it is an error in torch.
        return gradient.mul_(scale), None


def summed_cross_entropy(logits, labels):
    """Cross-entropy in nats, summed over the labels that are not -100: float32 scalar tensor.

    logits: [tokens, vocabulary], any float type (each piece is computed in float32); labels: int64 [tokens].
    """
    return _SummedCrossEntropy.apply(logits, labels)


def summed_loss(model, batch: dict, device):
    """(cross-entropy in nats summed over the counted labels: float32 scalar tensor, their number: int).

    batch: as a window layout's `batch` gives it. No counted label: the sum is 0 and so is its gradient.
    """
    import torch

    from modelling.lm_loss import summed_cross_entropy

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
